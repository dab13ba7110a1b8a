// Windows by head beside one window for all, at equal entries of the cache: masks from one measured ladder, with all of its windows or
// with one of them, then kept gain and tasks of all of them in one evaluation each.
import { existsSync } from 'node:fs';
import { makeMaskFile } from '../../dist/export/build-windows-mask.js';
import { cutWindows } from '../../dist/export/cut-windows.js';
import { parseCount } from '../../dist/src/config/flags.js';
import { readGates } from '../../dist/src/formats/gates.js';
import { writeMask } from '../../dist/src/formats/mask.js';
import { CHAT_TASKS, PLAIN_TASKS } from './rows.mjs';

const RUN = 'by-head/ladder';

/** The step that measures the ladder, from samples of both kinds as long as the cuts are made for: a window that holds a sample whole would pass for
 * harmless. */
export function measureLadder(asked, places, step) {
  const [window] = asked.windows;
  const [seed] = asked.seeds;
  const samples = ['--objective', 'both', '--haystack', asked.learn, '--documents', asked.learn];
  const lengths = ['--min-tokens', asked.longest, '--max-tokens', asked.longest];
  const method = ['--method', 'quadratic', '--quadratic-samples', String(asked.quadraticSamples)];
  const view = ['--sink', window.sink, '--recent', window.recent, '--windows', asked.ladder];
  const rest = ['--seed', String(seed), '--held-out-samples', '0', '--out', places.file(RUN), '--overwrite'];
  return step(`${RUN}/identify`, {
    args: ['identify', ...asked.model, ...method, ...samples, ...lengths, ...view, ...rest, ...asked.engine],
  });
}

/** Masks at every share of a full cache, and the steps that measure them; none before the ladder is there.
 * @param {(line: string) => void} say told of windows with which a share cannot be reached. */
export function listWindowSteps(asked, places, { step, say }) {
  const gates = places.file(`${RUN}/gates.json`);
  if (!existsSync(gates)) return [];
  const found = readGates(gates);
  const paths = asked.shares.flatMap((share) =>
    [
      ['by-head', found.ladder.windows],
      ...found.ladder.windows.map((window) => [`window-${window}`, [window]]),
    ].flatMap(([name, windows]) => {
      const path = places.file(`by-head/${name}@${share}.json`);
      const ladder = pickWindows(found, windows);
      const { kvHeads } = found.model;
      try {
        const cut = cutWindows(ladder, { kvShare: Number(share), atTokens: parseCount(asked.longest), kvHeads });
        writeMask(path, makeMaskFile({ ...found, ladder }, cut));
        return [path];
      } catch (error) {
        say(`left out: ${name} at ${share}: ${error.message}`);
        return [];
      }
    }),
  );
  const masks = ['eval', ...asked.model, ...paths.flatMap((path) => ['--other-mask', path]), '--baselines', 'full'];
  const common = [...masks, ...asked.engine, '--seed', '42', '--json'];
  const texts = ['--tasks', 'long-range', '--documents', asked.measure, '--lengths', asked.gainLengths];
  const prompts = ['--lengths', asked.taskLengths];
  const how = ['--task-samples', String(asked.prompts), '--concurrent', '4', '--measure', asked.taskMeasure];
  const tasks = (form, names, flags) =>
    step(`by-head/tasks-${form}`, {
      args: [
        ...common,
        '--tasks',
        names.join(','),
        ...prompts,
        ...how,
        ...flags,
        '--out',
        places.file(`by-head/cells-${form}`),
      ],
      needs: [gates],
    });
  return [
    step('by-head/gain', { args: [...common, ...texts, '--task-samples', String(asked.texts)], needs: [gates] }),
    tasks('chat', CHAT_TASKS, ['--chat', 'on', '--essays', asked.measure]),
    tasks('plain', PLAIN_TASKS, ['--haystack', asked.measure]),
  ];
}

/** A ladder of fewer rungs: the rows and columns of the others left out. */
function pickWindows({ model: tag, ladder }, windows) {
  const rungs = windows.map((window) => ladder.windows.indexOf(window));
  const options = Array.from({ length: tag.layers * tag.kvHeads }, (_, head) =>
    rungs.map((rung) => head * ladder.windows.length + rung),
  ).flat();
  const effects = options.map((row, index) =>
    options.slice(0, index + 1).map((column) => ladder.effects[Math.max(row, column)][Math.min(row, column)]),
  );
  return { ...ladder, windows, effects };
}
