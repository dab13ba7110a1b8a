// The ladder of a run, sample by sample, before its first round.
import { AbortedError } from '../../src/errors/errors.ts';
import { type QuadraticState, writeQuadraticState } from './checkpoint.ts';
import { addSample, pickRung, startLadder } from './ladder.ts';
import { measureLadder } from './measure-ladder.ts';
import { measureOverEngines } from './over-engines.ts';
import { isFirstSpared } from './quadratic-settings.ts';
import { countWork, enginesOf, type Run, scratchOf } from './run.ts';
import { sketchLadder } from './sketch-ladder.ts';

/** Measure the ladder's samples that are left; the state is on disk after each. Where one rung is the run's own window, whole steps around
 * all heads full are what the first round would measure, and it is spared that. */
export async function climb(
  begun: QuadraticState,
  { run, windows }: { run: Run; windows: readonly number[] },
): Promise<QuadraticState> {
  const { settings, checkpointPath, identity, sampleAt, onProgress } = run;
  const { supervise, signal, window } = run.measure;
  const { sinkTokens, recentTokens } = window;
  const heads = begun.gates.length;
  const vectors = settings.ladderVectors ?? 0;
  const { ladder: ladderWork, total: all } = countWork(run);
  let state = begun;
  let ladder = state.ladder ?? startLadder(heads * windows.length);
  await measureOverEngines({
    begin: ladder.samplesDone,
    end: settings.samples,
    engines: enginesOf(run),
    sampleAt,
    async measure(sample, { index, engine: own, slot, onProgress: tell }) {
      if (signal?.aborted)
        throw new AbortedError(`Stopped before sample ${index} of ${settings.samples} of the ladder.`);
      const options = { ...{ engine: own, supervise, signal, sinkTokens, windows }, onProgress: tell };
      return vectors
        ? await sketchLadder(sample, { ...options, vectors, sampleIndex: index })
        : await measureLadder(sample, { ...options, scratchFolder: scratchOf(run, slot) });
    },
    onMeasured(triangle, { sample }) {
      ladder = addSample(ladder, { tokens: sample.tokens.length, triangle });
      state = { ...state, ladder };
      writeQuadraticState(checkpointPath, identity, state);
    },
    onProgress: (samplesDone) => onProgress?.((ladderWork * samplesDone) / settings.samples / all),
  });
  const isUntouched = state.rounds.length === 0 && state.samplesDone === 0;
  if (!isUntouched || !isFirstSpared(settings, recentTokens)) return state;
  const rung = windows.indexOf(recentTokens);
  const sums = pickRung(ladder.sums, { heads, rungs: windows.length, rung });
  return { ...state, samplesDone: settings.samples, sums };
}
