// The run of an identification: its folder and record, from the first step to the closing table.
import { resolve } from 'node:path';
import { chooseCut, cutGates } from '../export/cut.ts';
import type { CutWindows } from '../export/cut-windows.ts';
import { countNoiseDecisions, describeNoiseDecisions } from '../export/noise-decisions.ts';
import { listSavings } from '../src/core/kv-cost.ts';
import type { MaskGrid, Window } from '../src/core/shapes.ts';
import { AbortedError } from '../src/errors/errors.ts';
import { type GatesFile, readGates, writeGates } from '../src/formats/gates.ts';
import { findKeptCurve, type KeptCurve } from '../src/formats/kept-curve.ts';
import { toHeadMask, writeMask } from '../src/formats/mask.ts';
import { readNoise } from '../src/formats/noise.ts';
import type { JsonRecord } from '../src/formats/read-json.ts';
import { type RunFile, writeRun } from '../src/formats/run.ts';
import { buildGates } from '../train/gates-file.ts';
import type { ScoredGates, ScoreOptions } from '../train/methods/method.ts';
import { cutMask } from './choose-mask.ts';
import { closeWithTable, measureGainOfTable } from './closing-table.ts';
import { announceEstimate } from './estimate.ts';
import { checkJoin, readRowsOf, stepsOf, tellJoined } from './joined.ts';
import { keepMask, repeatMeasures } from './keep-mask.ts';
import { type PromiseMeasure, preparePromise } from './keep-of.ts';
import { type LeastBudget, listLeastBudgets, MIN_KEPT } from './least-budget.ts';
import { describeCounts } from './long-range-source.ts';
import type { FoundHeads, IdentifyResult } from './options.ts';
import type { Parts } from './parts.ts';
import { describeIdentity, describeProvenance, describeSampleSettings, startRecord } from './record.ts';
import { enterRunPlace, type RunPlace } from './run-place.ts';
import { listWarnings } from './warnings.ts';

/** About a hundred points per gate, whatever the number of steps. */
const COURSE_POINTS = 100;

/** Score, cut and evaluate; with `out` everything is kept in its folder, and run.json says how it ended. */
export async function runIdentification(parts: Parts): Promise<IdentifyResult> {
  const { options } = parts;
  const identity = describeIdentity(parts);
  const out = options.out === undefined ? null : resolve(options.out);
  const entry = options.join ? 'join' : options.resume ? 'resume' : options.overwrite ? 'overwrite' : 'fresh';
  checkJoin(parts);
  const place = await enterRunPlace({
    ...{ out, entry, identity, settings: describeSampleSettings(parts), signal: options.signal },
    start: () => startRecord(parts, { previousPath: null, identity }),
  });
  try {
    const previousPath = place.isResumed ? place.file('run.json') : null;
    const record = startRecord(parts, { previousPath, identity });
    const keep = (changes: Partial<RunFile>): void => {
      if (place.isKept) writeRun(place.file('run.json'), { ...record, ...changes });
    };
    if (!place.joined) keep({});
    else tellJoined(parts, place.joined);
    let curve: KeptCurve | null = null;
    const onCurve = (found: KeptCurve): void => {
      curve = found;
    };
    const curveOf = (): JsonRecord => (curve ? { keptCurve: curve as unknown as JsonRecord } : {});
    try {
      const { result, isWriter } = await scoreAndEvaluate(parts, { place, identity, onCurve });
      if (!isWriter) return result;
      keep({ status: 'done', endedAt: new Date().toISOString(), results: { ...resultsOf(result), ...curveOf() } });
      return result;
    } catch (error) {
      const status = error instanceof AbortedError ? 'stopped' : 'failed';
      // the other processes of a joined run continue it
      if (place.joined && !place.joined.isAlone()) throw error;
      keep({
        status,
        endedAt: new Date().toISOString(),
        // where no mask keeps the promise, what the measured masks keep is recorded
        results: curve === null ? null : curveOf(),
        error: error instanceof Error ? error.message : String(error),
      });
      if (place.isKept && status === 'stopped') {
        const text = `Stopped; the run in ${place.path} continues with the same options and \`resume\`.`;
        options.onMessage?.({ kind: 'stopped', text });
      }
      throw error;
    }
  } finally {
    place.close();
  }
}

/** One identification and the folder it runs in. */
interface PlacedRun {
  readonly place: RunPlace;
  readonly identity: JsonRecord;
  /** called with what the masks measured for a promise keep */
  readonly onCurve: (curve: KeptCurve) => void;
}

/** Of a joined run, only one process writes the end. */
interface Finished {
  readonly result: IdentifyResult;
  readonly isWriter: boolean;
}

async function scoreAndEvaluate(parts: Parts, run: PlacedRun): Promise<Finished> {
  const { options, folder, config, cut, engine, method } = parts;
  const { place } = run;
  const { layers, kvHeads } = folder.config.shape;
  const text = `${folder.name}, ${layers} layers × ${kvHeads} KV heads, engine ${engine.name} on ${[engine, ...parts.helpers].map(({ device }) => device).join(' and ')}.`;
  options.onMessage?.({ kind: 'start', text });
  const isFinished = Boolean(place.joined?.finished);
  const prepared = 'keep' in cut && !isFinished ? await preparePromise(parts, cut.keepOf) : null;
  const score = makeScoreOptions(parts, run);
  await announceEstimate({ ...parts, score, onMessage: options.onMessage });
  tellScoring(parts, 0);
  const startMs = performance.now();
  const ready = place.joined?.finished ? readGates(place.file('gates.json')) : null;
  const scored = ready ? null : await method.score(score);
  const scoreSeconds = (performance.now() - startMs) / 1000;
  const ended = (await place.joined?.awaitEnd(options.signal)) ?? null;
  const isWriter = place.isKept && ended === null;
  const { counts } = parts.source;
  if (counts) options.onMessage?.({ kind: 'note', text: describeCounts(counts) });

  const window = score.settings.window;
  const gates =
    ready ??
    buildGates({
      model: folder.config.shape,
      fingerprint: folder.fingerprint,
      window,
      method: config.method,
      scored: scored as ScoredGates,
      provenance: describeProvenance(parts),
    });
  // A cut that no mask meets still leaves the gates, from which another can be cut.
  if (isWriter) writeGates(place.file('gates.json'), gates);
  const { onCurve } = run;
  const curve = ended && findKeptCurve(ended, place.file('run.json'));
  const measured = curve && repeatMeasures(curve);
  const chosen =
    'keep' in cut
      ? await keepMask({ parts, gates, cut, window, prepared: measured ?? (prepared as PromiseMeasure), onCurve })
      : cutMask({ gates, cut, window });
  const { mask } = chosen;
  if (isWriter) writeMask(place.file('mask.json'), mask);
  const noise = weighNoise(gates, chosen.cut.mask);
  const found: FoundHeads = { gates, ...chosen, noise };
  options.onFound?.(found);
  const noiseText = noise && describeNoiseDecisions(noise, noise);
  if (noiseText && !noise.isLarge) options.onMessage?.({ kind: 'noise', text: `${noiseText}.` });
  const table = ended ? null : await closeWithTable(parts, mask);
  const heldOut = ended ? readRowsOf(ended, 'heldOut') : (table?.rows ?? null);
  const keptGain = ended ? readRowsOf(ended, 'keptGain') : await measureGainOfTable(parts, mask);
  const lengths = {
    ...{ atTokens: chosen.windows?.atTokens ?? null, longestTokens: parts.longestTokens },
    isProportional: gates.ladder?.rule !== undefined,
  };
  const warnings = [...(noiseText && noise.isLarge ? [noiseText] : []), ...listWarnings(chosen.cut, heldOut, lengths)];
  for (const warning of warnings) options.onMessage?.({ kind: 'warning', text: `${warning}.` });
  const files = ['gates.json', 'mask.json', ...(method.isStepwise ? ['metrics.jsonl'] : []), 'run.json'];
  const result: IdentifyResult = {
    ...found,
    heldOut,
    keptGain,
    longRange: parts.source.counts ?? null,
    warnings,
    least: listLeastBudgets({
      given: toHeadMask(mask),
      atTokens: ('atTokens' in cut ? cut.atTokens : null) ?? gates.ladder?.tokens ?? parts.longestTokens,
      promise: 'keep' in cut && chosen.promise ? { keepOf: cut.keepOf, walked: chosen.promise.walked } : null,
      scored: table?.scored ?? null,
      keptGain,
    }),
    savings: listSavings(toHeadMask(mask), folder.config.shape.maxPositions),
    config,
    fitted: parts.fitted,
    method: config.method,
    steps: scored?.stepsDone ?? stepsOf(ended),
    scoreSeconds,
    engine: { name: engine.name, device: engine.device },
    out: place.isKept ? place.path : null,
    files: place.isKept ? files : [],
  };
  return { result, isWriter: ended === null };
}

function makeScoreOptions(parts: Parts, run: Pick<PlacedRun, 'place' | 'identity'>): ScoreOptions {
  const { options, config, engine, helpers, source, method, cut, windows, windowRule } = parts;
  const { place, identity } = run;
  const { signal } = options;
  const window: Window = { sinkTokens: config.sinkTokens, recentTokens: config.recentTokens };
  return {
    engine,
    helpers,
    sampleAt: (step) => source.sampleAt(step),
    settings: {
      steps: config.steps,
      lr: config.lr,
      lambda: config.lambda,
      window,
      supervise: config.supervise,
      fullBranch: config.fullBranch,
      distance: config.distance,
      checkpointEvery: config.checkpointEvery,
      gatesEvery: Math.max(1, Math.ceil(config.steps / COURSE_POINTS)),
      stableSteps: config.earlyStopSteps,
    },
    quadratic: {
      samples: config.quadraticSamples,
      rounds: config.quadraticRounds,
      step: config.quadraticStep,
      distance: config.distance,
      ...(config.quadraticVectors > 0 && { vectors: config.quadraticVectors }),
      ...(windows.length > 0 && { windows }),
      ...(windowRule && { windowRule }),
      ...(windows.length > 0 && config.ladderVectors > 0 && { ladderVectors: config.ladderVectors }),
    },
    files: { metrics: place.file('metrics.jsonl'), checkpoint: place.file('checkpoint.json') },
    identity,
    resume: place.isResumed,
    ...(place.joined && { shared: place.joined.shared }),
    // an early stop watches a mask that gates alone decide
    cut: (gates) => cutGates(gates, 'kvShare' in cut || 'keep' in cut ? chooseCut({ model: engine.model }) : cut),
    ...(signal && { signal }),
    ...(method.isStepwise
      ? { onStep: (line) => tellScoring(parts, line.step + 1, line.loss) }
      : { onProgress: (fraction) => tellScoring(parts, Math.round(100 * fraction)) }),
  };
}

function weighNoise({ provenance }: GatesFile, mask: MaskGrid): FoundHeads['noise'] {
  const noise = readNoise(provenance, 'gates.json');
  return noise && { ...noise, ...countNoiseDecisions(mask, noise) };
}

/** @param done steps of a stepwise method, else hundredths. */
function tellScoring({ options, config, method }: Parts, done: number, loss?: number): void {
  const total = method.isStepwise ? config.steps : 100;
  const progress = { stage: 'score', label: method.name, done, total } as const;
  options.onProgress?.(loss === undefined ? progress : { ...progress, loss });
}

/** What run.json and --json report about a result: numbers, no files. */
export function resultsOf(result: IdentifyResult): JsonRecord {
  const { method, steps, scoreSeconds, cut, savings, heldOut, windows, noise, warnings, keptGain, longRange, least } =
    result;
  const { streamingHeads, retrievalHeads, tieDecided } = cut;
  return {
    method,
    steps,
    scoreSeconds,
    streamingHeads,
    retrievalHeads,
    tieDecided,
    warnings: [...warnings],
    ...(noise && { noise: { ...noise, below: noise.below.length } }),
    ...(windows && { kvShare: pickBudget(windows) }),
    ...(least.length > 0 && { least: least.map(pickLeast) }),
    savings: savings.map(({ tokens, saved }) => ({ tokens, saved })),
    ...(longRange && { longRange: { ...longRange } }),
    heldOut: (heldOut ?? []) as unknown as JsonRecord[],
    ...(keptGain && { keptGain: keptGain as unknown as JsonRecord[] }),
  };
}

function pickBudget({ kvShare, atTokens, keptShare, predictedLoss, lossBound }: CutWindows): JsonRecord {
  return { asked: kvShare, atTokens, kept: keptShare, predictedLoss, lossBound };
}

function pickLeast({ keepOf, atTokens, found }: LeastBudget): JsonRecord {
  const of = { keep: MIN_KEPT, keepOf, atTokens };
  return found
    ? { ...of, kvShare: found.kvShare, kept: found.kept, interval: [...found.interval] }
    : { ...of, kvShare: null };
}
