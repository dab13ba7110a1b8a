// One identification from a model's name to its mask: opens model and engine, fits the preset, scores the heads, cuts the gates, and
// shows what the mask keeps on held-out samples. Prints nothing; the methods, the cut and the evaluation are other rooms' work.
import type { Config } from '../src/config/config.ts';
import { listChanges } from '../src/config/fit.ts';
import { resolveWindowRule, resolveWindows } from '../src/config/ladder.ts';
import { resolveSettings, type Settings } from '../src/config/settings.ts';
import type { Engine } from '../src/engine/engine.ts';
import { ConfigError } from '../src/errors/errors.ts';
import type { ModelFolder } from '../src/model/folder.ts';
import { isDemoModel, openModel } from '../src/model/open-model.ts';
import { fitToCpu } from '../train/cpu-budget.ts';
import { findMethod } from '../train/methods/index.ts';
import { countSketchInputBytes } from '../train/quadratic/cost.ts';
import { canProbe } from '../train/quadratic/measure-sample.ts';
import { fitToGpu, fitToSamples } from '../train/sample-count.ts';
import { chooseMaskCut } from './choose-mask.ts';
import { openChosenEngine } from './chosen-engine.ts';
import { findDocuments } from './documents.ts';
import { openHelperEngines, splitDevices } from './helper-engines.ts';
import { listPossibleMethods, refuseIdleSettings } from './idle-settings.ts';
import { findKeepTask } from './keep-of.ts';
import { openObjectiveSource } from './objective-source.ts';
import { checkOptions, type IdentifyOptions, type IdentifyResult } from './options.ts';
import { findResumedEngine } from './resumed-engine.ts';
import { runIdentification } from './run.ts';
import { type GivenSource, openGivenSource, openOrigin, type SampleSource } from './sample-source.ts';
import { settleDistance } from './settle-distance.ts';
import { countSamples, nameSampleKey, settleForEngine, settleMethod } from './unasked.ts';
import { checkReach, checkWidest, describeHeldWhole, describeScaling } from './warnings.ts';

/** Find the retrieval heads of a model.
 * @returns gates, mask and the closing table; the same as `duo identify` with the same settings.
 * @throws {ConfigError} options or settings that cannot be; {ModelError}, {FormatError}, {FileError} of what is read or written;
 *   {EngineError}; {AbortedError} on `signal`. Same seed, inputs, engine and device: the same gates and mask. */
export async function identify(options: IdentifyOptions): Promise<IdentifyResult> {
  checkOptions({ ...options, objective: options.config?.objective });
  const { model } = options;
  const folder = typeof model === 'string' ? await openNamedModel(model, options) : model;
  try {
    const settings = settleMethod(
      resolveSettings({
        preset: options.preset ?? (isDemoModel(folder) ? 'demo' : folder.config.shape.architecture),
        overrides: { ...options.config },
        shape: folder.config.shape,
      }),
    );
    findKeepTask(settings.config.keepOf);
    const method = findMethod(settings.config.method);
    const methods = listPossibleMethods(settings.config, settings.given);
    refuseIdleSettings(options, { config: settings.config, methods });
    const given = options.samples === undefined ? null : openGivenSource(options.samples, folder);
    try {
      const { nameOption, weightsOn } = options;
      const { device, helpers: names } = splitDevices(options.device, { method, nameOption });
      const distillTokens = given?.longest ?? settings.config.maxTokens;
      const isSketched = settings.config.quadraticVectors > 0 || settings.config.ladderVectors > 0;
      const next = {
        pass: method.isStepwise ? ('distill' as const) : ('measure' as const),
        tokens: distillTokens,
        besideBytes: isSketched ? countSketchInputBytes(folder.config.shape, distillTokens) : 0,
      };
      const engine = await openChosenEngine(folder, {
        ...{ ...options, device },
        ...findResumedEngine(options),
        distillTokens,
        next,
      });
      try {
        const helpers = await openHelperEngines(folder, { helpers: names, engine, next, weightsOn, nameOption });
        try {
          return await identifyWith({ options, folder, settings, given, engine, helpers });
        } finally {
          for (const helper of helpers) await helper.close();
        }
      } finally {
        if (engine !== options.engine) await engine.close();
      }
    } finally {
      given?.close();
    }
  } finally {
    if (folder !== model) folder.close();
  }
}

function openNamedModel(name: string, { signal, onMessage, onProgress }: IdentifyOptions): Promise<ModelFolder> {
  const note = (text: string): void => onMessage?.({ kind: 'note', text: `${text}.` });
  return openModel(name, {
    ...(signal && { signal }),
    onFetch: ({ bytes, repository, folder }) =>
      note(`fetching ${(bytes / 2 ** 30).toFixed(2)} GiB of ${repository} into ${folder}`),
    onProgress: (done, total) => onProgress?.({ stage: 'fetch', label: `fetch ${name}`, done, total }),
    onNote: note,
  });
}

interface Opened {
  readonly options: IdentifyOptions;
  readonly folder: ModelFolder;
  readonly settings: Settings;
  /** samples that the user gives */
  readonly given: GivenSource | null;
  readonly engine: Engine;
  /** of other devices */
  readonly helpers: readonly Engine[];
}

async function identifyWith(opened: Opened): Promise<IdentifyResult> {
  const { options, folder, engine, helpers } = opened;
  const { shape } = folder.config;
  if (engine.model.layers !== shape.layers || engine.model.kvHeads !== shape.kvHeads) {
    throw new ConfigError(
      `Expected an engine of ${folder.name}, ${shape.layers} layers × ${shape.kvHeads} KV heads, got one of ${engine.model.layers} × ${engine.model.kvHeads}.`,
    );
  }
  const { source, config, fitted } = await openSource(opened);
  refuseIdleSettings(options, { config, methods: [config.method] });
  const method = findMethod(config.method);
  const cut = chooseMaskCut(config, shape);
  try {
    await checkReach({ source, config, numSamples: countSamples(config) });
    const lengths = listLengths(source, config);
    const longestTokens = Math.max(...lengths);
    const windows = resolveWindows(config, { longestTokens, heads: shape.layers * shape.kvHeads });
    checkWidest(windows, { sinkTokens: config.sinkTokens, longestTokens });
    if (config.windows === 'auto') {
      const text = `each head is measured with windows of ${windows.join(', ')} tokens, up to a quarter of the longest sample, ${longestTokens}.`;
      options.onMessage?.({ kind: 'note', text });
    }
    const { onMessage } = options;
    const windowRule = resolveWindowRule(config, longestTokens);
    const held = windowRule
      ? describeScaling(windows, { sinkTokens: config.sinkTokens, lengths, rule: windowRule })
      : describeHeldWhole(windows, { sinkTokens: config.sinkTokens, lengths });
    if (held) onMessage?.({ kind: 'note', text: held });
    const distance = settleDistance(config, { method, engine, onMessage });
    const settled = { ...config, distance, windows: windows.length > 0 ? windows : null };
    const ladder = { windows, windowRule, longestTokens };
    const parts = { options, folder, fitted, method, cut, ...ladder, source, engine, helpers };
    return await runIdentification({ ...parts, config: settled });
  } finally {
    if (source !== opened.given) source.close();
  }
}

/** The samples, with the settings fitted to model, tokenizer and device: fewer and shorter ones on a CPU, and as long as the tokenizer requires. */
async function openSource({
  options,
  folder,
  settings,
  given: samples,
  engine,
}: Opened): Promise<{ source: SampleSource; config: Config; fitted: string[] }> {
  const { asked, given } = settings;
  const isGpu = engine.device.startsWith('cuda');
  const model = folder.config;
  const settled = settleForEngine(settings.config, { given, engine });
  if (samples !== null) {
    // Samples that the user gives have no objective.
    const config = fitToSamples({ ...settled, objective: 'passkey' }, { model, given, samples, isGpu });
    const fitted = listChanges({ ...settings.config, method: asked.method, objective: 'passkey' }, config);
    if (fitted.length > 0)
      options.onMessage?.({ kind: 'fitted', text: `the preset was fitted: ${fitted.join(', ')}.` });
    return { source: samples, config, fitted };
  }
  const config = isGpu
    ? fitToGpu(settled, { model, given })
    : fitToCpu(settled, { model, given, canProbe: canProbe(engine) });
  const isCut = settings.isCut || config.maxTokens < settings.config.maxTokens;
  const origin = { folder, config, haystackPath: options.haystack, given, isCut };
  checkTurns(config);
  const source = await openObjectiveSource({
    ...origin,
    // The closing table always asks for passkeys, whichever objective the heads are found by.
    config: config.objective === 'long-range' ? (await openOrigin(origin)).config : config,
    objective: config.objective,
    documentsPath: findDocuments(options),
    heldOutPath: options.heldOutDocuments,
    engine,
    split: 'train',
    signal: options.signal,
  });
  const fitted = listChanges(asked, source.config);
  if (fitted.length > 0) {
    const text = `the preset was fitted to the model, its tokenizer and ${engine.device}: ${fitted.join(', ')}.`;
    options.onMessage?.({ kind: 'fitted', text });
  }
  return { source, config: source.config, fitted };
}

/** @throws {ConfigError} a single sample for two objectives. */
function checkTurns(config: Config): void {
  if (config.objective !== 'both' || countSamples(config) !== 1) return;
  throw new ConfigError(
    `Expected at least 2 samples for \`objective\` both, which takes passkeys and long-range tokens by turns, got 1; raise \`${nameSampleKey(config)}\`.`,
  );
}

/** Tokens of the samples that the heads are scored by. */
function listLengths(source: SampleSource, config: Config): number[] {
  return Array.from({ length: Math.max(1, countSamples(config)) }, (_, index) => source.lengthAt(index));
}
