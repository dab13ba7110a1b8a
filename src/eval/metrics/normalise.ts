// Words of the question-answering scores, as SQuAD, LongBench and InfiniteBench normalise them.
import { ASCII_PUNCTUATION, splitWhiteSpace } from './python-text.ts';

/** Punctuation that the suites take out of Chinese answers besides ASCII's. The opening 《 is not among it. */
const CHINESE_PUNCTUATION =
  '！？｡。＂＃＄％＆＇（）＊＋，－／：；＜＝＞＠［＼］＾＿｀｛｜｝～｟｠｢｣､、〃》「」『』【】〔〕〖〗〘〙〚〛〜〝〞〟〰〾〿–—‘’‛“”„‟…‧﹏.';
const ASCII_MARKS = new Set(ASCII_PUNCTUATION);
const ALL_MARKS = new Set(ASCII_PUNCTUATION + CHINESE_PUNCTUATION);

/** `\b(a|an|the)\b` with Python's idea of a word: letters and digits of every script, and the underscore. */
const ARTICLES = /(?<![\p{L}\p{N}_])(?:a|an|the)(?![\p{L}\p{N}_])/gu;

/** Lower case, without ASCII punctuation, articles and surplus white space. */
export function normaliseEnglish(text: string): string {
  return splitWhiteSpace(dropCharacters(text.toLowerCase(), ASCII_MARKS).replace(ARTICLES, ' ')).join(' ');
}

/** Lower case, without punctuation of either script and without white space. */
export function normaliseChinese(text: string): string {
  return splitWhiteSpace(dropCharacters(text.toLowerCase(), ALL_MARKS)).join('');
}

/** Words of an English text after normalisation. */
export function listEnglishWords(text: string): string[] {
  return splitWhiteSpace(normaliseEnglish(text));
}

function dropCharacters(text: string, unwanted: ReadonlySet<string>): string {
  return [...text].filter((character) => !unwanted.has(character)).join('');
}
