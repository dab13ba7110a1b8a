// A BPE vocabulary must hold what its merges take and make; where it does not, text would be lost without a word, because a merged
// piece has no id. The tokenizers library refuses such files as well.
import { jsonText } from '../core/json-text.ts';
import { FormatError } from '../errors/errors.ts';

/** @param model `model` of tokenizer.json, type BPE; merges are "a b" or ["a", "b"].
 * @throws {FormatError} a merge that is neither, or that takes or makes a token the vocabulary lacks; two tokens with one id. */
export function checkMerges(model: Record<string, unknown> & { readonly vocab: object }, path: string): void {
  const vocab = new Map(Object.entries(model.vocab));
  const merges: readonly unknown[] = Array.isArray(model.merges) ? model.merges : [];
  const prefix = typeof model.continuing_subword_prefix === 'string' ? model.continuing_subword_prefix : '';
  for (const merge of merges) {
    const pair: readonly unknown[] = typeof merge === 'string' ? merge.split(' ') : Array.isArray(merge) ? merge : [];
    const [left, right] = pair;
    if (pair.length !== 2 || typeof left !== 'string' || typeof right !== 'string') {
      throw new FormatError(
        `Expected \`model.merges\` of ${path} to hold pairs of tokens, got \`${jsonText(merge)}\`; download the file again.`,
      );
    }
    const made = left + (right.startsWith(prefix) ? right.slice(prefix.length) : right);
    const missing = [left, right, made].find((token) => !vocab.has(token));
    if (missing !== undefined) {
      throw new FormatError(
        `Expected \`model.vocab\` of ${path} to hold the token \`${missing}\`, which the merge of \`${left}\` and \`${right}\` needs, found none: text would be lost; download the file again, or take the merge out with the token.`,
      );
    }
  }
  const tokenOf = new Map<unknown, string>();
  for (const [token, id] of vocab) {
    const other = tokenOf.get(id);
    if (other !== undefined) {
      throw new FormatError(
        `Expected each token of ${path} to have an id of its own, got \`${id}\` for \`${other}\` and \`${token}\`; download the file again.`,
      );
    }
    tokenOf.set(id, token);
  }
}
