// Similarity of a line of code (LongBench's code_sim_score: fuzzywuzzy's ratio of the first line that is code).
// The ratio is 2·M / (|a| + |b|) with M the matched characters of the longest common subsequence (Indel similarity), which
// current fuzz libraries use; difflib's block matching, in older ones, can be lower.

/** 100 × the similarity of the first line without backtick, `#` or `//` to the reference. */
export function scoreEditSimilarity(prediction: string, reference: string): number {
  const lines = prediction.replace(/^\n+/, '').split('\n');
  const code = lines.find((line) => !/[`#]|\/\//.test(line)) ?? '';
  const expected = [...reference];
  const said = [...code];
  if (expected.length + said.length === 0) return 100;
  return Math.round((200 * countCommonCharacters(said, expected)) / (said.length + expected.length));
}

/** Length of the longest common subsequence, row by row. */
function countCommonCharacters(a: readonly string[], b: readonly string[]): number {
  let above = new Uint32Array(b.length + 1);
  for (const character of a) {
    const row = new Uint32Array(b.length + 1);
    for (let j = 1; j <= b.length; j++) {
      row[j] =
        character === b[j - 1] ? (above[j - 1] as number) + 1 : Math.max(above[j] as number, row[j - 1] as number);
    }
    above = row;
  }
  return above[b.length] as number;
}
