// Every key of a run preset: what it means, its kind and bounds. The keys' order here is their order in files, flags and help.
// Values follow arXiv 2410.10819 where the paper or its code names one; configs/base.json holds them.
import { z } from 'zod';
import { MAX_LADDER_WINDOWS } from '../formats/ladder-effects.ts';
import {
  choiceKey,
  integerKey,
  numberKey,
  optionalIntegerKey,
  optionalNumberKey,
  stringKey,
  windowListKey,
  wordListKey,
} from './keys.ts';

const MAX_TOKENS = 2 ** 26; // 64m tokens: bounds what a preset can make the generator allocate

const holdsPasskeyOnce = {
  pattern: /^(?![\s\S]*\{passkey\}[\s\S]*\{passkey\})[\s\S]*\S\{passkey\}/,
  expected: 'a text that holds {passkey} once, straight after a character that is not white space',
};

/** Texts around the haystack and the passkeys; a passkey brings its own leading space. */
export const templatesSchema = z.strictObject({
  /** Before the haystack. */
  head: stringKey('text before the haystack'),
  /** Around each passkey in the haystack; {ordinal} and {passkey} are filled in. */
  needle: stringKey('text put into the haystack; {ordinal} and {passkey} are filled in', holdsPasskeyOnce),
  /** Between the haystack and the questions. */
  close: stringKey('text between the haystack and the questions'),
  /** Around each asked passkey at the end. */
  question: stringKey('text of each question with its answer; {ordinal} and {passkey} are filled in', holdsPasskeyOnce),
  /** On both sides of a needle and after each question. */
  separator: stringKey('text on both sides of each needle and after each question'),
});

/** Gates lie in [0, 1]: far below these bounds one step closes or opens all of them; far above, float32 sums overflow. */
const MAX_LAMBDA = 1e6;
const MAX_LR = 1000;

/** A whole preset, strict. */
export const configSchema = z.strictObject({
  /** How heads are scored: the name of a file in train/methods. */
  method: stringKey('how heads are scored: gates, quadratic, attention-mass, mean-query-key or retrieval-score', {
    pattern: /^[a-z][a-z-]*$/,
    expected: 'the name of a scoring method, such as "gates"',
  }),
  /** What samples ask for: passkeys in a haystack, the long-range tokens of running text, or the two by turns. */
  objective: choiceKey('what samples are made of: passkeys, long-range tokens of --documents, or both by turns', [
    'passkey',
    'long-range',
    'both',
  ]),
  /** The measure of how far a sample's outputs change: hidden states, the KL divergence from full attention's next-token distributions, or KL for
   * long-range samples alone. */
  distance: choiceKey(
    'what samples are measured by: hidden states, the KL divergence of next-token distributions, or auto = KL for long-range samples; methods gates and quadratic',
    ['hidden', 'kl', 'auto'],
  ),
  /** Everything random comes from this number. */
  seed: integerKey('number that everything random is drawn from', { least: 0 }),
  /** S: first tokens a streaming head always sees. */
  sinkTokens: integerKey('first tokens that a streaming head always sees', { least: 0 }),
  /** R: nearest tokens a streaming head sees, the query's own included. */
  recentTokens: integerKey('nearest tokens that a streaming head sees, its own included', { least: 1 }),
  /** Windows whose effects are measured on each head in addition to the gates; auto = powers of two from recentTokens to a quarter of the longest
   * sample; null = none. */
  windows: windowListKey('windows to measure each head at, such as 256,512,1k, or auto; method quadratic', {
    most: MAX_LADDER_WINDOWS,
  }),
  /** Whether windows have the same number of tokens in every sample, or the named sizes at the longest sample's length and proportionally fewer in shorter ones. */
  windowRule: choiceKey(
    "whether --windows are the same in every sample, or the longest sample's and in proportion to the length elsewhere",
    ['fixed', 'proportional'],
  ),
  /** Random vectors of a sketch that estimates the ladder's effects at a cost that does not grow with the windows; 0 = probe every window. */
  ladderVectors: integerKey('estimate the effects of --windows by this many backward passes, 0 = probe each window', {
    least: 0,
    most: 4096,
  }),
  /** λ: weight of the mean gate in the objective. */
  lambda: numberKey('weight of the mean gate in the objective', { least: 0, most: MAX_LAMBDA }),
  /** Peak learning rate of the gates. */
  lr: numberKey('peak learning rate of the gates', { above: 0, most: MAX_LR }),
  /** N: optimizer steps, one sample each. */
  steps: integerKey('optimizer steps, one sample each', { least: 1 }),
  /** Which positions the loss looks at (docs/semantics.md, 3). */
  supervise: choiceKey('positions the loss looks at: those that predict an answer token, or the answer tokens', [
    'predict',
    'answer',
  ]),
  /** Whose full attention enters the gate mix (docs/semantics.md, 2). */
  fullBranch: choiceKey("whose full attention enters the gate mix; teacher is the reference code's variant", [
    'student',
    'teacher',
  ]),
  /** Steps between checkpoints. */
  checkpointEvery: integerKey('steps between checkpoints', { least: 1 }),
  /** Stop when the mask has not changed for this many steps; 0 = never. */
  earlyStopSteps: integerKey('stop when the mask has not changed for this many steps, 0 = never', { least: 0 }),
  /** Samples of each measurement of method quadratic. */
  quadraticSamples: integerKey('samples of each measurement of method quadratic', { least: 1, most: 1_000_000 }),
  /** Most rounds of method quadratic; each but the first measures anew at the gates the last one found. */
  quadraticRounds: integerKey('maximum rounds of method quadratic, each measured at the gates of the last', {
    least: 1,
    most: 1000,
  }),
  /** Random vectors of a sketch that replaces the probes of a measurement where it is cheaper; 0 = probe every head. */
  quadraticVectors: integerKey(
    'estimate measurements of many heads of method quadratic by this many backward passes, 0 = probe each head',
    { least: 0, most: 4096 },
  ),
  /** How far method quadratic moves a gate while it probes it. */
  quadraticStep: choiceKey('how far method quadratic moves a gate it probes: a little, or to the other side', [
    'tangent',
    'finite',
  ]),
  /** Share of KV heads that stream; null with threshold null = 0.5 if G < H, else 0.75. */
  streamingFraction: optionalNumberKey('share of KV heads that stream', { least: 0, most: 1 }),
  /** Retrieval iff gate ≥ threshold; excludes streamingFraction. */
  threshold: optionalNumberKey('retrieval heads are those with a gate of at least this', { least: 0, most: 1 }),
  /** Largest share of a full KV cache that the mask may keep; its windows are chosen by head. */
  kvShare: optionalNumberKey('largest share of a full KV cache that the mask may keep, with windows by head', {
    least: 0,
    most: 1,
  }),
  /** Context length at which a KV share is counted, for kvShare and keep; null = the longest sample that was measured. */
  kvShareTokens: optionalIntegerKey('context length at which --kv-share and --keep count', {
    least: 1,
    most: MAX_TOKENS,
  }),
  /** Share of full attention's result on held-out samples that the mask must keep; the smallest budget that does is found. */
  keep: optionalNumberKey(
    'share of full attention that the mask must keep on held-out samples; finds the smallest budget',
    {
      least: 0,
      most: 1,
    },
  ),
  /** What `keep` is measured by: `recall`, `gain`, or a task of `duo eval`. */
  keepOf: stringKey(
    'what --keep is measured by: recall of held-out answers, gain (kept gain on held-out text), or a task',
    {
      pattern: /^[a-z][a-z0-9_-]*$/,
      expected: 'recall, gain or the name of a task, such as "vt"',
    },
  ),
  /** Shortest sample. */
  minTokens: integerKey('shortest sample in tokens', { least: 2, most: MAX_TOKENS }),
  /** Longest sample. */
  maxTokens: integerKey('longest sample in tokens', { least: 2, most: MAX_TOKENS }),
  /** Points of the integer grid between the shortest and the longest. */
  lengthCount: integerKey('lengths in the grid between shortest and longest', { least: 1, most: 1_000_000 }),
  /** Lengths from the grid, each once per epoch, or uniform over the integers. */
  lengthDraw: choiceKey('draw lengths from the grid, each once per epoch, or uniformly', ['grid', 'uniform']),
  /** Passkeys in a sample. */
  passkeys: integerKey('passkeys in a sample', { least: 1, most: 10_000 }),
  /** Alphabet words in a passkey. */
  wordsPerPasskey: integerKey('words in a passkey', { least: 1, most: 10_000 }),
  /** Shallowest depth, as a share of the haystack. */
  depthMin: numberKey('shallowest depth as a share of the haystack', { least: 0, most: 1 }),
  /** Deepest depth. */
  depthMax: numberKey('deepest depth as a share of the haystack', { least: 0, most: 1 }),
  /** Points of the depth grid; each sample draws its depths from it without replacement. */
  depthCount: integerKey('depths in the grid between shallowest and deepest', { least: 1, most: 1_000_000 }),
  /** Questions in random order, or in order of depth as the reference asks them. */
  questionOrder: choiceKey('order of the questions', ['random', 'depth']),
  /** Words passkeys are made of. */
  alphabet: wordListKey('words that passkeys are made of'),
  /** Words that number the passkeys, in order of depth. */
  ordinals: wordListKey('words that number the passkeys in order of depth'),
  templates: templatesSchema,
  /** Nats by which full attention must beat all heads streaming at a token of the long-range objective. */
  longRangeGain: numberKey('nats that long context must give a token of the long-range objective', { least: 0 }),
  /** Probability that full attention must give such a token; the default is e⁻². */
  longRangeProbability: numberKey('probability that full attention must give such a token', { least: 0, most: 1 }),
  /** Samples of the closing recall table; 0 = no table. */
  heldOutSamples: integerKey('held-out samples of the closing recall table, 0 = no table', {
    least: 0,
    most: 100_000,
  }),
  /** The longest held-out sample is this many times maxTokens, capped at the model's maximum. */
  heldOutLengthFactor: numberKey('longest held-out sample as a multiple of the longest sample', {
    least: 1,
    most: 1024,
  }),
});

/** A whole, checked preset. */
export type Config = z.infer<typeof configSchema>;
/** Texts of a sample. */
export type Templates = z.infer<typeof templatesSchema>;
