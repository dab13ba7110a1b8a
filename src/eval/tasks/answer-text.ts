// The true continuation of a prompt, cut into what is asked for and what only joins it, and where its tokens lie.
import type { AnswerRange, Sample } from '../../core/shapes.ts';
import type { TaskTokenizer } from './task.ts';

/** A piece of the true continuation. */
export interface AnswerPiece {
  readonly text: string;
  /** true: its tokens are scored; false: joins answers */
  readonly isAnswer: boolean;
}

/** Characters of the prompt tokenised again with the answer to find where its tokens begin. */
const TAIL_CHARACTERS = 400;

/** Answers that begin with a space (the prompt ends without one), with `between` before each but the first and `last`
 * before the last one. */
export function joinAnswers(
  answers: readonly string[],
  joints: { readonly between: string; readonly last?: string },
): AnswerPiece[] {
  return answers.flatMap((answer, index): AnswerPiece[] => {
    const piece = { text: ` ${answer}`, isAnswer: true };
    if (index === 0) return [piece];
    const joint = index === answers.length - 1 ? (joints.last ?? joints.between) : joints.between;
    return [{ text: joint, isAnswer: false }, piece];
  });
}

/** Tokens the pieces take after a line break, an estimate within a token or two. */
export function countAnswerTokens(tokenizer: TaskTokenizer, pieces: readonly AnswerPiece[]): number {
  return tokenizer.encode(`.\n:${writePieces(pieces)}`).length - tokenizer.encode('.\n:').length;
}

/** Prompt and answer tokenised as one text, with a range per answer piece.
 * A range begins with the first token that the text before the piece does not already have. */
export function makeAnswerSample(tokenizer: TaskTokenizer, prompt: string, pieces: readonly AnswerPiece[]): Sample {
  const answer = writePieces(pieces);
  const tokens = tokenizer.encode(prompt + answer);
  let cut = Math.max(0, prompt.length - TAIL_CHARACTERS);
  while (cut > 0 && !/\s/.test(prompt[cut] as string)) cut--;
  const tail = prompt.slice(cut);
  const answers =
    locatePieces(tokenizer, { tokens, head: tail, pieces }) ??
    locatePieces(tokenizer, { tokens, head: prompt, pieces });
  return { tokens, answers: answers ?? [] };
}

/** Ranges found in `head` and pieces tokenised alone, moved to the end of `tokens`; null if the two end differently. */
function locatePieces(
  tokenizer: TaskTokenizer,
  options: { readonly tokens: readonly number[]; readonly head: string; readonly pieces: readonly AnswerPiece[] },
): AnswerRange[] | null {
  const { tokens, head, pieces } = options;
  const part = tokenizer.encode(head + writePieces(pieces));
  const shift = tokens.length - part.length;
  const ends: number[] = [];
  let text = head;
  for (const piece of [{ text: '' }, ...pieces]) {
    text += piece.text;
    ends.push(commonPrefix(tokenizer.encode(text), part));
  }
  const first = ends[0] as number;
  for (let index = first; index < part.length; index++) {
    if (part[index] !== tokens[index + shift]) return null;
  }
  return pieces.flatMap((piece, index): AnswerRange[] => {
    const start = (ends[index] as number) + shift;
    const end = (ends[index + 1] as number) + shift;
    return piece.isAnswer && end > start && start >= 1 ? [[start, end]] : [];
  });
}

function writePieces(pieces: readonly AnswerPiece[]): string {
  return pieces.map((piece) => piece.text).join('');
}

function commonPrefix(a: readonly number[], b: readonly number[]): number {
  let length = 0;
  while (length < a.length && length < b.length && a[length] === b[length]) length++;
  return length;
}
