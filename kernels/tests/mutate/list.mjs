// The list mutants.txt: "@ file : program arguments", pairs of "- text" (once in the file; "-2 text": its second place)
// and "+ text", and "! file kernel : reason" of kernels without a mutant. Finds each mutant's place in its source.
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';

const KERNEL = /__global__ void\s+(?:__launch_bounds__\([^)]*\)\s+)?(\w+)\(/g;

/** Where the mutant's text is, however the file breaks its lines: [begin, end), or why it cannot be said. */
function locate(source, { text, place }) {
  const tokens = text.match(/\w+|[^\w\s]/g).map((token) => token.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  const found = [...source.matchAll(new RegExp(tokens.join('\\s*'), 'g'))];
  if (found.length === 0) return 'the text is not in the file';
  if (place === 0 && found.length > 1) return `the text is ${found.length} times in the file`;
  const match = found[Math.max(0, place - 1)];
  return match ? [match.index, match.index + match[0].length] : `the text is only ${found.length} times in the file`;
}

/** The kernel that an offset lies in: the last __global__ function before it, if it is not past its end; else ''. */
function kernelAt(source, offset) {
  let name = '';
  for (const found of source.matchAll(KERNEL)) {
    if (found.index > offset) break;
    name = offset <= source.indexOf('\n}', found.index) ? found[1] : '';
  }
  return name;
}

/** "file kernel" of every __global__ function of `root`/cuda. */
function listKernels(root) {
  const kernels = new Set();
  for (const name of readdirSync(join(root, 'cuda'))) {
    if (!name.endsWith('.cu')) continue;
    const source = readFileSync(join(root, 'cuda', name), 'utf8');
    for (const found of source.matchAll(KERNEL)) kernels.add(`${name} ${found[1]}`);
  }
  return kernels;
}

/**
 * @param root the folder kernels/
 * @returns mutants {number, file, test, from, to, line, kernel, changed: the file's text with it}, or with `result`
 * where it does not apply; kernels; bare: those that have no mutant and no reason.
 */
export function readList(root) {
  const excused = new Set();
  const mutants = [];
  let [file, test, from] = [];
  for (const line of readFileSync(join(root, 'tests/mutants.txt'), 'utf8').split('\n')) {
    if (line.startsWith('! ')) excused.add(line.slice(2).split(' : ')[0]);
    if (line.startsWith('@ ')) [file, test] = line.slice(2).split(' : ');
    const removed = /^-(\d*) (.*)$/.exec(line);
    if (removed) from = { text: removed[2], place: Number(removed[1] || 0) };
    if (line.startsWith('+')) mutants.push({ number: mutants.length + 1, file, test, from, to: line.slice(2) });
  }
  const kernels = listKernels(root);
  const bare = new Set([...kernels].filter((name) => !excused.has(name)));
  const sources = new Map();
  for (const mutant of mutants) {
    if (!sources.has(mutant.file)) sources.set(mutant.file, readFileSync(join(root, mutant.file), 'utf8'));
    const source = sources.get(mutant.file);
    const at = locate(source, mutant.from);
    if (typeof at === 'string') {
      mutant.result = `does not apply: ${at}`;
      continue;
    }
    mutant.line = source.slice(0, at[0]).split('\n').length;
    mutant.kernel = kernelAt(source, at[0]);
    mutant.changed = source.slice(0, at[0]) + mutant.to + source.slice(at[1]);
    bare.delete(`${basename(mutant.file)} ${mutant.kernel}`);
  }
  return { mutants, sources, kernels, bare: [...bare] };
}
