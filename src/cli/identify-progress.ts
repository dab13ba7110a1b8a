// The progress line of identify, a new one for each stage, and the request of the scoring stage for time to stop.
import type { IdentifyProgress } from '../../identify/options.ts';
import { makeProgress, type Progress } from './progress.ts';
import { takeTimeToStop } from './stopping.ts';

export interface IdentificationWatch {
  readonly onProgress: (progress: IdentifyProgress) => void;
  /** the stage is over: its line is removed, and the scoring stage withdraws its request for time to stop */
  readonly finish: () => void;
}

export function watchIdentification(): IdentificationWatch {
  let stage: IdentifyProgress['stage'] | null = null;
  let line: Progress | null = null;
  let giveBack: (() => void) | null = null;
  const finish = (): void => {
    line?.finish();
    giveBack?.();
    [stage, line, giveBack] = [null, null, null];
  };
  return {
    onProgress: (progress) => {
      if (progress.stage !== stage) {
        finish();
        stage = progress.stage;
        line = makeProgress(progress.label);
        if (stage === 'score') giveBack = takeTimeToStop();
      }
      const note = progress.loss === undefined ? '' : `loss ${progress.loss.toFixed(4)}`;
      line?.update(progress.done, progress.total, note);
    },
    finish,
  };
}
