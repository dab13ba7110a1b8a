// Text normalisation of the question-answering scores, as SQuAD and LongBench do it, for English and Chinese.
// No word segmenter is at hand for Chinese: a word is then one character, or one run of Latin letters or digits. LongBench
// segments with jieba, so Chinese F1 and ROUGE-L here are those of characters, not comparable with its tables to the digit.

/** ASCII punctuation as Python's string.punctuation has it, and full-width punctuation. */
const ENGLISH_PUNCTUATION = /[!"#$%&'()*+,\-./:;<=>?@[\\\]^_`{|}~]/g;
const CHINESE_PUNCTUATION =
  /[！？。。＂＃＄％＆＇（）＊＋，－／：；＜＝＞＠［＼］＾＿｀｛｜｝～｟｠｢｣､、〃》「」『』【】〔〕〖〗〘〙〚〛〜〝〞〟〰〾〿–—‘’‛“”„‟…‧﹏.]/g;

export type Language = 'en' | 'zh';

/** Lower case, without punctuation, articles and surplus white space. */
export function normaliseEnglish(text: string): string {
  return text
    .toLowerCase()
    .replace(ENGLISH_PUNCTUATION, '')
    .replace(/\b(a|an|the)\b/g, ' ')
    .replace(/\s+/g, ' ')
    .trim();
}

/** Lower case, without punctuation of either script and without white space. */
export function normaliseChinese(text: string): string {
  return text.toLowerCase().replace(ENGLISH_PUNCTUATION, '').replace(CHINESE_PUNCTUATION, '').replace(/\s+/g, '');
}

/** Words of a text after normalisation; for Chinese characters, Latin words and numbers. */
export function listWords(text: string, language: Language): string[] {
  if (language === 'en')
    return normaliseEnglish(text)
      .split(' ')
      .filter((word) => word !== '');
  const spaced = text.toLowerCase().replace(ENGLISH_PUNCTUATION, ' ').replace(CHINESE_PUNCTUATION, ' ');
  return spaced.match(/[a-z0-9]+|[^\sa-z0-9]/gu) ?? [];
}
