// The ladder of a run, sample by sample, before its first round.
import { scaleToSample } from '../../src/core/window-rule.ts';
import { AbortedError } from '../../src/errors/errors.ts';
import { chooseDistance, isLongRangeSample } from '../distance.ts';
import { countSamples, mapSums } from './balanced-sums.ts';
import { type QuadraticState, writeQuadraticState } from './checkpoint.ts';
import { addSample, pickRung, startLadder } from './ladder.ts';
import { measureLadder } from './measure-ladder.ts';
import { measureOverEngines } from './over-engines.ts';
import { isFirstSpared } from './quadratic-settings.ts';
import { countWork, enginesOf, type Run, scratchOf, sharedBy } from './run.ts';
import { sketchLadder } from './sketch-ladder.ts';

/** Measure the ladder's samples that are left; the state is on disk after each. Where one rung is the run's own window, whole steps around
 * all heads full are what the first round would measure, and that round skips it. */
export async function climb(
  begun: QuadraticState,
  { run, windows }: { run: Run; windows: readonly number[] },
): Promise<QuadraticState> {
  const { settings, checkpointPath, identity, sampleAt, onProgress } = run;
  const { supervise, signal, window } = run.measure;
  const { sinkTokens, recentTokens } = window;
  const heads = begun.gates.length;
  const { ladderVectors: vectors = 0, windowRule: rule } = settings;
  const { ladder: ladderWork, total: all } = countWork(run);
  let state = begun;
  let ladder = state.ladder ?? startLadder(heads * windows.length);
  await measureOverEngines({
    begin: countSamples(ladder.measured),
    end: settings.samples,
    engines: enginesOf(run),
    shared: sharedBy(run, 'ladder', { windows, vectors, ...(rule && { rule }) }),
    signal,
    sampleAt,
    async measure(sample, { index, engine: own, slot, onProgress: report }) {
      if (signal?.aborted)
        throw new AbortedError(`Stopped before sample ${index} of ${settings.samples} of the ladder.`);
      const distance = chooseDistance(sample, settings.distance ?? 'hidden');
      const tokens = sample.tokens.length;
      const windowsOf = rule ? scaleToSample(windows, { rule, tokens, sinkTokens }) : windows;
      const options = {
        ...{ engine: own, supervise, distance, signal, sinkTokens, windows: windowsOf },
        onProgress: report,
      };
      return vectors
        ? await sketchLadder(sample, { ...options, vectors, sampleIndex: index })
        : await measureLadder(sample, { ...options, scratchFolder: scratchOf(run, slot) });
    },
    onMeasured(triangle, { sample }) {
      ladder = addSample(ladder, { tokens: sample.tokens.length, triangle, isLongRange: isLongRangeSample(sample) });
      state = { ...state, ladder };
      writeQuadraticState(checkpointPath, identity, state);
    },
    onProgress: (samplesDone) => onProgress?.((ladderWork * samplesDone) / settings.samples / all),
  });
  const isUntouched = state.rounds.length === 0 && countSamples(state.measured) === 0;
  if (!isUntouched || !isFirstSpared(settings, recentTokens)) return state;
  const rung = windows.indexOf(recentTokens);
  const pick = (sums: Float64Array): Float64Array => pickRung(sums, { heads, rungs: windows.length, rung });
  return { ...state, measured: mapSums(ladder.measured, pick) };
}
