// What each setting of an identification acts on, for settings that act only together with certain others. A setting that a person gave and
// that would change nothing is refused; one that comes from a preset was not asked for in this run and is left alone.
import { PASSKEY_KEYS } from '../data-gen/passkey.ts';
import type { Config } from '../src/config/config.ts';
import { listConfigKeys } from '../src/config/flags.ts';
import { refuseIdle, type Use } from '../src/config/idle.ts';
import { HEAD_METHODS } from '../train/methods/index.ts';
import { LONG_RANGE_KEYS } from './long-range-source.ts';
import type { IdentifyOptions } from './options.ts';

/** Options that name what samples are made of. */
const TEXT_OPTIONS = [
  'haystack',
  'documents',
  'heldOutDocuments',
] as const satisfies readonly (keyof IdentifyOptions)[];

type Given = Pick<
  IdentifyOptions,
  'config' | 'samples' | 'heldOut' | 'nameOption' | 'refuseIdle' | (typeof TEXT_OPTIONS)[number]
>;

/** The methods that may still be chosen, judging by the settings alone. Where the person named none, a costly optimisation of gates gives way to `quadratic` on a CPU
 * (train/cpu-budget.ts), and `quadratic` to gates with an engine that cannot measure heads (unasked.ts). */
export function listPossibleMethods({ method, windows }: Config, given: ReadonlySet<string>): string[] {
  const isOpen = !given.has('method') && windows === null && ['gates', 'quadratic'].includes(method);
  return isOpen ? ['gates', 'quadratic'] : [method];
}

/** Does nothing unless the options ask for it. @param run.methods the methods it may be run by.  @throws {ConfigError} a setting that the person gave and that would act on nothing. */
export function refuseIdleSettings(options: Given, run: { config: Config; methods: readonly string[] }): void {
  const { nameOption = (name) => `\`${name}\``, refuseIdle: isAsked = false } = options;
  if (!isAsked) return;
  const uses = [...listMethodUses(run.methods), ...listSampleUses(options, { config: run.config, nameOption })];
  refuseIdle(
    new Set(listGiven(options).map(nameOption)),
    uses.map(({ flag, ...use }) => ({ ...use, flag: nameOption(flag) })),
  );
}

/** What a person set: keys as presets spell them, a text of the templates as `templates.head`; and texts. */
function listGiven(options: Given): string[] {
  const keys = Object.entries(options.config ?? {}).flatMap(([key, value]) => (value === undefined ? [] : [key]));
  const known = listConfigKeys();
  const names = keys.map((key) => known.find((candidate) => candidate.key === key)?.name ?? key);
  return [...names, ...TEXT_OPTIONS.filter((name) => options[name] !== undefined)];
}

function listMethodUses(methods: readonly string[]): Use[] {
  const keys = new Set(HEAD_METHODS.flatMap(({ settings }) => settings));
  return [...keys].map((key) => {
    const users = HEAD_METHODS.filter(({ settings }) => settings.includes(key)).map(({ name }) => name);
    return { flag: key, isUsed: users.some((name) => methods.includes(name)), needs: `method ${joinNames(users)}` };
  });
}

/** Of samples to learn from, held-out samples of the closing table or of a promise, and running text. */
function listSampleUses(options: Given, run: { config: Config; nameOption: (name: string) => string }): Use[] {
  const { config, nameOption: named } = run;
  const { objective, heldOutSamples, keep, keepOf } = config;
  const isMade = options.samples === undefined;
  const [hasPasskeys, hasLongRange] = [isMade && objective !== 'long-range', isMade && objective !== 'passkey'];
  const isHeldOutMade = options.heldOut === undefined && heldOutSamples > 0;
  const hasTable = options.heldOut !== undefined || heldOutSamples > 0;
  const hasDocuments = options.documents !== undefined || options.heldOutDocuments !== undefined;
  // of kept gain, and of prompts of a task
  const hasPromise = keep !== null && keepOf !== 'recall';
  const hasTexts = (hasDocuments && hasTable) || hasPromise;
  const passkeys = {
    isUsed: hasPasskeys || isHeldOutMade,
    needs: `passkeys to make, for ${named('objective')} passkey or both or for held-out samples`,
  };
  const made = { isUsed: isMade || isHeldOutMade, needs: 'samples to make' };
  const longRange = { isUsed: hasLongRange, needs: `${named('objective')} long-range or both` };
  const documents = { isUsed: hasLongRange || hasTexts, needs: `${longRange.needs}, or a closing table` };
  const ofPasskeys = PASSKEY_KEYS.filter((key) => !(LONG_RANGE_KEYS as readonly string[]).includes(key));
  const names = listConfigKeys().map(({ name }) => name);
  return [
    ...names
      .filter((name) => ofPasskeys.some((key) => key === name.split('.')[0]))
      .map((flag) => ({ flag, ...passkeys })),
    { flag: 'templates', ...passkeys },
    { flag: 'minTokens', ...made },
    { flag: 'maxTokens', ...made, isUsed: made.isUsed || hasTexts },
    { flag: 'lengthDraw', ...made },
    { flag: 'lengthCount', isUsed: isMade, needs: 'samples to make' },
    { flag: 'longRangeGain', ...longRange },
    { flag: 'longRangeProbability', ...longRange },
    {
      flag: 'heldOutSamples',
      // 0 together with given samples is a true statement
      isUsed: options.heldOut === undefined || heldOutSamples === 0 || hasTexts,
      needs: 'held-out samples to make, or running text for kept gain',
    },
    { flag: 'heldOutLengthFactor', isUsed: isHeldOutMade, needs: 'held-out samples to make' },
    { flag: 'haystack', isUsed: passkeys.isUsed || hasTexts, needs: passkeys.needs },
    { flag: 'documents', ...documents },
    { flag: 'heldOutDocuments', ...documents },
  ];
}

/** `a, b or c` */
function joinNames(names: readonly string[]): string {
  return names.length < 2 ? names.join('') : `${names.slice(0, -1).join(', ')} or ${names.at(-1)}`;
}
