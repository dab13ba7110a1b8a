// The progress line of identify, a new one for each stage, and the time to stop that scoring asks for.
import type { IdentifyProgress } from '../../identify/options.ts';
import { makeProgress, type Progress } from './progress.ts';
import { takeTimeToStop } from './stopping.ts';

export interface IdentificationWatch {
  readonly onProgress: (progress: IdentifyProgress) => void;
  /** the stage is over: its line goes, and scoring gives its time to stop back */
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
