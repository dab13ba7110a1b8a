// How far a command is, on stderr: a bar that is redrawn where a person watches a terminal, else one plain line per minute, so that
// logs of batch jobs say how long is left. `--progress` chooses.
import { type Command, Option } from 'commander';
import { formatSeconds } from '../core/words.ts';
import { say } from './terminal.ts';

const PROGRESS_KINDS = ['bar', 'plain', 'none'] as const;
type ProgressKind = (typeof PROGRESS_KINDS)[number];

const BAR_EVERY_MS = 100;
const PLAIN_EVERY_MS = 60_000;
const BAR_COLUMNS = 24;

/** A progress line with the time left. */
export interface Progress {
  /** `done` of `total` units; `note` is shown after the time left. */
  update(done: number, total: number, note?: string): void;
  /** Remove the bar; no more lines follow. */
  finish(): void;
}

interface State {
  readonly done: number;
  readonly total: number;
  readonly note: string;
}

let asked: ProgressKind | null = null;

/** Add `--progress` to a command that shows progress. */
export function addProgressOption(command: Command): Command {
  return command.addOption(
    new Option(
      '--progress <kind>',
      'a bar, one plain line per minute, or none; default: a bar on a terminal, else plain',
    )
      .choices([...PROGRESS_KINDS])
      .argParser((value) => {
        const kind = PROGRESS_KINDS.find((known) => known === value);
        if (kind === undefined) {
          command.error(`error: Expected --progress to be one of ${PROGRESS_KINDS.join(', ')}, got '${value}'.`);
        }
        asked = kind as ProgressKind;
        return value;
      }),
  );
}

/** @param label what is being done, shown first.
 * @param options.unitsBefore units that were done before this run and say nothing of its speed.
 * @param options.isSilent the command was asked for quiet. */
export function makeProgress(label: string, options: { unitsBefore?: number; isSilent?: boolean } = {}): Progress {
  const kind = asked ?? (process.stderr.isTTY === true ? 'bar' : 'plain');
  if (options.isSilent || kind === 'none') return { update: () => {}, finish: () => {} };
  const startMs = performance.now();
  const describeTimeLeft = ({ done, total }: State): string => {
    const unitsDone = done - (options.unitsBefore ?? 0);
    if (unitsDone <= 0) return '';
    return `${formatSeconds(((performance.now() - startMs) / 1000 / unitsDone) * (total - done))} left`;
  };
  return kind === 'bar' ? makeBar(label, describeTimeLeft) : makeLines(label, describeTimeLeft);
}

function makeBar(label: string, describeTimeLeft: (state: State) => string): Progress {
  const stream = process.stderr;
  let drawnMs = 0;
  return {
    update(done, total, note = '') {
      const nowMs = performance.now();
      if (nowMs - drawnMs < BAR_EVERY_MS && done < total) return;
      drawnMs = nowMs;
      const filled = Math.round((BAR_COLUMNS * done) / total);
      const bar = `${'█'.repeat(filled)}${'░'.repeat(BAR_COLUMNS - filled)}`;
      const line = `${label} ${bar} ${done}/${total} ${describeTimeLeft({ done, total, note })} ${note}`;
      stream.write(`\r\x1b[2K${line.slice(0, (stream.columns ?? 100) - 1)}`);
    },
    finish() {
      stream.write('\r\x1b[2K');
    },
  };
}

/** A line per minute by the clock, also where one unit takes longer than that; nothing for what ends within the first minute. */
function makeLines(label: string, describeTimeLeft: (state: State) => string): Progress {
  let state: State | null = null;
  const timer = setInterval(() => {
    if (state === null) return say(`duo: ${label} has begun.`);
    const { done, total, note } = state;
    const parts = [`${label} ${done}/${total}`, describeTimeLeft(state), note].filter((part) => part !== '');
    say(`duo: ${parts.join(', ')}.`);
  }, PLAIN_EVERY_MS);
  timer.unref();
  return {
    update(done, total, note = '') {
      state = { done, total, note };
    },
    finish() {
      clearInterval(timer);
    },
  };
}
