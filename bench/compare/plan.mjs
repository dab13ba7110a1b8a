// What is to be done: the flags of a comparison become steps, each a duo command, in the order in which they are wanted.
import { existsSync, mkdirSync, readdirSync, symlinkSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { CHAT_TASKS, countFlags, PLAIN_TASKS, ROWS, STABILITY_ROWS } from './rows.mjs';

/** Where everything lies, and how steps are named. */
export class Places {
  constructor(out) {
    this.out = resolve(out);
  }
  file(name) {
    return join(this.out, name);
  }
  samples({ objective, window, seed, half }) {
    // passkeys are the same for every window, long-range tokens are not
    const of = objective === 'passkey' ? objective : `${objective}.${window.name}`;
    return this.file(`samples/${of}.${half === undefined ? `seed-${seed}` : `half-${half}`}.jsonl`);
  }
  run({ row, window, seed }) {
    return this.file(`${window.name}/${row.name}/seed-${seed}`);
  }
  gates(of) {
    return join(this.run(of), 'gates.json');
  }
  half({ row, window, count, half }) {
    return this.file(`${window.name}/${row.name}/disjoint-${count}-${half}`);
  }
}

/** Makes steps of one part, with their files in <out>. */
export const makeStep =
  (places, part) =>
  (name, { args, result, needs = [] }) => ({
    name,
    part,
    args,
    needs,
    output: places.file(`${name}.json`),
    log: places.file(`${name}.log`),
    result: result ?? places.file(`${name}.json`),
  });

/** Steps of all parts.
 * @param {object} asked flags of compare-masks.mjs, read. */
export function listSteps(asked, places) {
  const { windows, seeds } = asked;
  const everywhere = (list) => windows.flatMap((window) => seeds.flatMap((seed) => list({ window, seed })));
  return [
    ...listSamples(asked, places),
    ...everywhere((at) => listIdentify(asked, places, at)),
    ...everywhere((at) => listGain(asked, places, at)),
    ...everywhere((at) => listTasks(asked, places, at)),
    ...listStability(asked, places),
  ];
}

const objectives = () => [...new Set(ROWS.flatMap(({ samples }) => (samples === undefined ? [] : [samples])))];

function generate(asked, places, { objective, window, seed, learn, half, count }) {
  const passkeys = ['--haystack', learn];
  const texts = ['--documents', learn, ...asked.engine];
  const source = { passkey: passkeys, 'long-range': texts, both: [...passkeys, ...texts] }[objective];
  const path = places.samples({ objective, window, seed, half });
  const limits = ['--min-tokens', asked.shortest, '--max-tokens', asked.longest, '--count', String(count)];
  const view = objective === 'passkey' ? [] : ['--sink', window.sink, '--recent', window.recent];
  return makeStep(places, 'samples')(path.slice(places.out.length + 1, -'.jsonl'.length), {
    args: [
      'generate',
      ...asked.model,
      '--objective',
      objective,
      ...source,
      ...limits,
      ...view,
      ...['--seed', String(seed), '--out', path, '--overwrite'],
    ],
    result: `${path.slice(0, -'.jsonl'.length)}.json`,
  });
}

function listSamples(asked, places) {
  const all = asked.windows.flatMap((window) =>
    asked.seeds.flatMap((seed) =>
      objectives().map((objective) =>
        generate(asked, places, { objective, window, seed, learn: asked.learn, count: asked.count }),
      ),
    ),
  );
  return withoutTwins(all);
}

const withoutTwins = (steps) =>
  steps.filter(({ name }, index) => steps.findIndex((other) => other.name === name) === index);

function identify(asked, { row, window, seed, samples, count, run }) {
  const view = [
    '--sink',
    window.sink,
    '--recent',
    window.recent,
    '--streaming-fraction',
    '0.5',
    '--seed',
    String(seed),
  ];
  const own = ['--method', row.method, ...countFlags(row.method, count), ...(row.flags ?? []), '--samples', samples];
  return [
    'identify',
    ...asked.model,
    ...own,
    ...view,
    '--held-out-samples',
    '0',
    '--out',
    run,
    '--overwrite',
    ...asked.engine,
  ];
}

const countOf = ({ method }, asked) =>
  ({ gates: asked.steps, quadratic: asked.quadraticSamples })[method] ?? asked.attentionSamples;

function listIdentify(asked, places, { window, seed }) {
  return ROWS.filter(({ method }) => method !== undefined).map((row) => {
    const samples = places.samples({ objective: row.samples, window, seed });
    const run = places.run({ row, window, seed });
    return makeStep(places, 'identify')(`${window.name}/${row.name}/seed-${seed}/identify`, {
      args: identify(asked, { row, window, seed, samples, count: countOf(row, asked), run }),
      needs: [`${samples.slice(0, -'.jsonl'.length)}.json`],
    });
  });
}

function evaluate(asked, { gates, window, fractions }) {
  const view = ['--sink', window.sink, '--recent', window.recent];
  return [
    'eval',
    ...asked.model,
    '--gates',
    gates,
    '--fractions',
    fractions,
    ...view,
    ...asked.engine,
    '--seed',
    '42',
    '--json',
  ];
}

function listGain(asked, places, { window, seed }) {
  return rowsAt(asked, seed).map((row) => {
    const gates = places.gates({ row, window, seed });
    const texts = ['--documents', asked.measure, '--lengths', asked.gainLengths, '--task-samples', String(asked.texts)];
    return makeStep(places, 'gain')(`${window.name}/${row.name}/seed-${seed}/gain`, {
      args: [
        ...evaluate(asked, { gates, window, fractions: asked.fractions }),
        '--baselines',
        'full,streaming',
        '--tasks',
        'long-range',
        ...texts,
      ],
      needs: [scored(places, { row, window, seed })],
    });
  });
}

function listTasks(asked, places, { window, seed }) {
  return rowsAt(asked, seed).flatMap((row) =>
    [
      ['chat', CHAT_TASKS, ['--chat', 'on', '--essays', asked.measure]],
      ['plain', PLAIN_TASKS, ['--haystack', asked.measure]],
    ].map(([form, tasks, flags]) => {
      const gates = places.gates({ row, window, seed });
      const name = `${window.name}/${row.name}/seed-${seed}/tasks-${form}`;
      const masks = evaluate(asked, { gates, window, fractions: asked.taskFractions });
      const prompts = ['--tasks', tasks.join(','), '--lengths', asked.taskLengths];
      const how = [
        '--task-samples',
        String(asked.prompts),
        '--concurrent',
        '4',
        '--measure',
        asked.taskMeasure,
        ...flags,
      ];
      // one folder of cells for all rows: full attention and all streaming, and masks that two rows share, are run once
      const kept = ['--baselines', 'full,streaming', '--out', places.file(`${window.name}/cells-${form}`)];
      return makeStep(places, 'tasks')(name, {
        args: [...masks, ...prompts, ...how, ...kept],
        needs: [scored(places, { row, window, seed })],
      });
    }),
  );
}

/** What says that a row's gates.json is whole. */
const scored = (places, of) => (of.row.method === undefined ? places.gates(of) : join(places.run(of), 'identify.json'));

/** Rows that differ by seed, and on the first seed those that do not. */
const rowsAt = (asked, seed) =>
  ROWS.filter(({ scores }) => scores !== 'file' || (asked.scores !== undefined && seed === asked.seeds[0]));

/** Masks from halves of the documents that share no book, under the first window and seed. */
function listStability(asked, places) {
  const [[window], [seed]] = [asked.windows, asked.seeds];
  const rows = STABILITY_ROWS.map(({ row, counts }) => ({ row: ROWS.find(({ name }) => name === row), counts }));
  const all = ['a', 'b'].flatMap((half) =>
    rows.flatMap(({ row, counts }) => {
      const of = { objective: row.samples, window, seed, half };
      const made = generate(asked, places, { ...of, learn: places.file(`halves/${half}`), count: asked.count });
      return [
        { ...made, part: 'stability' },
        ...counts.map((count) => {
          const run = places.half({ row, window, count, half });
          return makeStep(places, 'stability')(`${run.slice(places.out.length + 1)}/identify`, {
            args: identify(asked, { row, window, seed, samples: places.samples(of), count, run }),
            needs: [made.result],
          });
        }),
      ];
    }),
  );
  return withoutTwins(all);
}

/** Folders of the documents to learn from, by turns into two halves. */
export function makeHalves(learn, places) {
  const books = readdirSync(learn).sort();
  if (books.length < 2)
    throw new Error(`Expected at least two documents in ${learn} for masks from disjoint ones, got ${books.length}.`);
  for (const [index, book] of books.entries()) {
    const folder = places.file(`halves/${index % 2 === 0 ? 'a' : 'b'}`);
    mkdirSync(folder, { recursive: true });
    if (!existsSync(join(folder, book))) symlinkSync(resolve(learn, book), join(folder, book));
  }
}
