// Runs mutants: those that a condition can hold in one program, the others compiled one by one.
import { join } from 'node:path';
import { CONDITION_HEADER, putBehindConditions, unitOf } from './conditions.mjs';
import { programOf, Tree } from './tree.mjs';

const MOST_SECONDS = 3600; // of CPU time, for a test without a mutant
// A mutant may take twice the time of its test, and a minute more: one that never ends is caught by that.
const limitOf = (seconds) => Math.ceil(2 * seconds + 60);
const HEADER = 'cuda/duo_mutant.h';

/** Runs each test once without a mutant: it has to pass. How long that took limits its mutants. */
class Passes {
  #limits = new Map();
  find(tree, test) {
    if (!this.#limits.has(test)) this.#limits.set(test, this.#run(tree, test));
    return this.#limits.get(test);
  }
  async #run(tree, test) {
    const passed = await tree.test(test, { seconds: MOST_SECONDS });
    if (!passed.ok) throw new Error(`${test} fails without a mutant:\n${passed.output.slice(-2000)}`);
    console.log(`passes\t${passed.seconds.toFixed(0)} s\t${test}`);
    return limitOf(passed.seconds);
  }
}

async function judge(tree, mutant, seconds, { first, number }) {
  const tested = await tree.test(mutant.test, { seconds, first, number });
  const failed = /(\d+) checks, (\d+) failed/.exec(tested.output)?.[2];
  mutant.checks = tested.isStopped ? '1 or more' : (failed ?? (tested.ok ? '0' : 'stopped'));
  const isEnded = tested.signal && !tested.isStopped;
  mutant.result = tested.ok ? 'SURVIVED' : isEnded ? `caught: ended by ${tested.signal}` : 'caught';
}

async function runAll(mutants, jobs, each) {
  let next = 0;
  const work = async (job) => {
    while (next < mutants.length) await each(mutants[next++], job);
  };
  await Promise.all(Array.from({ length: jobs }, (_, job) => work(job)));
}

/** The sources with the mutants behind conditions; those that are not are added to `rest`. */
function conditionSources(mutants, sources, rest) {
  const changes = new Map([[HEADER, CONDITION_HEADER]]);
  for (const [file, text] of sources) {
    const own = mutants.filter((mutant) => mutant.file === file && !rest.has(mutant));
    if (own.length === 0) continue;
    const put = putBehindConditions(text, own);
    for (const mutant of put.left) rest.add(mutant);
    changes.set(file, `#include "${HEADER}"\n#line 1\n${put.text}`);
  }
  return changes;
}

/** The mutants that errors of the compiler name by their lines. */
function blame(output, mutants, sources) {
  const found = new Set();
  for (const [, file, line] of output.matchAll(/(cuda\/\w+\.(?:cu|h)):(\d+):\d+: (?:fatal )?error:/g)) {
    for (const mutant of mutants) {
      if (mutant.file !== file) continue;
      const lineOf = (offset) => sources.get(file).slice(0, offset).split('\n').length;
      if (lineOf(mutant.unit.begin) <= Number(line) && Number(line) <= lineOf(mutant.unit.end)) found.add(mutant);
    }
  }
  return found;
}

/**
 * Runs those of `mutants` that conditions can hold. The program has the whole list's, `all`: it stays the same from run
 * to run.
 * @returns the mutants that are left, in their order.
 */
export async function runInOneProgram(mutants, { all, kernels, folder, jobs, first, sources, finish }) {
  const rest = new Set();
  for (const mutant of all) {
    mutant.unit = unitOf(sources.get(mutant.file), mutant.changed);
    if (mutant.unit === undefined) rest.add(mutant);
  }
  const tree = new Tree(kernels, join(folder, 'conditions'), jobs);
  const programs = [...new Set(mutants.map(({ test }) => programOf(test)))];
  for (;;) {
    tree.fill(conditionSources(all, sources, rest));
    await tree.configure();
    if (mutants.every((mutant) => rest.has(mutant))) break;
    const built = await tree.compile(programs);
    if (built.ok) break;
    const wrong = blame(
      built.output,
      all.filter((mutant) => !rest.has(mutant)),
      sources,
    );
    if (wrong.size === 0) throw new Error(`does not compile:\n${built.output.slice(-4000)}`);
    for (const mutant of wrong) {
      console.log(`no condition\t\t${mutant.file}:${mutant.line} ${mutant.kernel}\t${mutant.to.trim()}`);
      rest.add(mutant);
    }
  }
  const passes = new Passes();
  const inside = mutants.filter((mutant) => !rest.has(mutant));
  const tests = [...new Set(inside.map(({ test }) => test))].sort((a, b) => a.length - b.length); // whole programs first
  await runAll(tests, jobs, (test) => passes.find(tree, test));
  await runAll(inside, jobs, async (mutant) => {
    const seconds = await passes.find(tree, mutant.test);
    await judge(tree, mutant, seconds, { first, number: mutant.number });
    finish(mutant);
  });
  return mutants.filter((mutant) => rest.has(mutant));
}

/** Compiles each mutant by itself, in a tree for each job. */
export async function runOneByOne(mutants, { kernels, folder, jobs, first, sources, finish }) {
  if (mutants.length === 0) return;
  const trees = [];
  for (let job = 0; job < Math.min(jobs, mutants.length); job++) {
    const tree = new Tree(kernels, join(folder, String(job)), 1);
    tree.fill();
    await tree.configure();
    trees.push(tree);
  }
  const passes = new Passes();
  const builds = new Map();
  const build = async (tree, test) => {
    const built = await tree.compile([programOf(test)]);
    if (!built.ok) throw new Error(`${test} does not build:\n${built.output.slice(-4000)}`);
    return passes.find(tree, test);
  };
  await runAll(mutants, trees.length, async (mutant, job) => {
    const tree = trees[job];
    if (!builds.has(mutant.test)) builds.set(mutant.test, build(tree, mutant.test));
    const seconds = await builds.get(mutant.test);
    tree.write(mutant.file, mutant.changed);
    const built = await tree.compile([programOf(mutant.test)]);
    if (built.ok) await judge(tree, mutant, seconds, { first });
    else Object.assign(mutant, { result: 'does not compile', log: built.output.slice(-1500) });
    tree.write(mutant.file, sources.get(mutant.file));
    finish(mutant);
  });
}
