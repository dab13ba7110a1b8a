// Laws that every task keeps, through the real tokenizer reader and the real prose source.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { openProseHaystack } from '../../../../data-gen/haystack.ts';
import { makeRandom } from '../../../../src/core/random.ts';
import { adaptTokenizer } from '../../../../src/eval/tasks/adapt-tokenizer.ts';
import { wrapInChat } from '../../../../src/eval/tasks/chat-tokenizer.ts';
import { countOccurrences } from '../../../../src/eval/tasks/complete-sample.ts';
import type { BuildOptions, EvalTask, TaskSample, Wording } from '../../../../src/eval/tasks/task.ts';
import { openTaskFiles } from '../../../../src/eval/tasks/task-files.ts';
import { EVAL_TASKS, findTasks, RULER_STYLE_TASKS } from '../../../../src/eval/tasks/task-list.ts';
import { ADJECTIVES, NOUNS } from '../../../../src/eval/tasks/words.ts';
import { makeByteTokenizer } from './byte-tokenizer.ts';

const folder = mkdtempSync(join(tmpdir(), 'duo-tasks-'));
afterAll(() => rmSync(folder, { recursive: true }));

const tokenizer = makeByteTokenizer();
const haystack = openProseHaystack(tokenizer);

const essays = join(folder, 'essays.txt');
const essayText = tokenizer.decode(haystack.take({ tokens: 3000, random: makeRandom(5, 'essay'), split: 'train' }));
writeFileSync(essays, essayText);
const squad = join(folder, 'squad.json');
writeFileSync(
  squad,
  JSON.stringify({
    data: [
      {
        paragraphs: Array.from({ length: 120 }, (_, index) => ({
          context: `The town of number ${index} lies by river ${index * 7}. Its people are ${index} strong and sell cheese.`,
          qas: [
            {
              question: `By which river lies town ${index}?`,
              answers: [{ text: `river ${index * 7}` }],
              id: String(index),
            },
            { question: 'Unanswerable?', answers: [], is_impossible: true, id: `x${index}` },
          ],
        })),
      },
    ],
  }),
);
const hotpotqa = join(folder, 'hotpot.json');
writeFileSync(
  hotpotqa,
  JSON.stringify(
    Array.from({ length: 160 }, (_, index) => ({
      question: `Who leads the club of lake ${index}?`,
      answer: `Person ${index}`,
      context: [
        [`Lake ${index}`, [`The lake ${index} has a club.`, ` It is old.`]],
        [`Club ${index}`, [`Person ${index} leads the club ${index}.`]],
      ],
    })),
  ),
);
const files = openTaskFiles({ essays, squad, hotpotqa });

function options(more: Partial<BuildOptions> = {}): BuildOptions {
  return { tokenizer: adaptTokenizer(tokenizer), lengthTokens: 6000, seed: 3, index: 0, haystack, files, ...more };
}

/** The list of words of cwe's worked example alone takes thousands of byte tokens. */
const leastTokens = (task: EvalTask): number => (task.name === 'cwe' ? 12_000 : 4800);
const build = (task: EvalTask, more: Partial<BuildOptions> = {}): TaskSample =>
  task.build(options({ lengthTokens: leastTokens(task), ...more }));
const byName = (name: string): EvalTask => findTasks([name])[0] as EvalTask;
const cases = EVAL_TASKS.flatMap((task) =>
  task.wordings.map((wording): [string, EvalTask, Wording] => [`${task.name}, ${wording}`, task, wording]),
);

describe.each(cases)('%s', (_, task, wording) => {
  const first = build(task, { wording });

  it('gives the same bytes for the same seed, others for another index or seed', () => {
    expect(JSON.stringify(build(task, { wording }))).toBe(JSON.stringify(first));
    expect(build(task, { wording, index: 1 }).prompt).not.toBe(first.prompt);
    expect(build(task, { wording, seed: 4 }).prompt).not.toBe(first.prompt);
  });

  it('comes within one haystack unit of the length asked and never above', () => {
    for (const lengthTokens of [503, 2001].map((more) => leastTokens(task) + more)) {
      const sample = build(task, { wording, lengthTokens });
      const total = sample.promptTokens.length + sample.maxNewTokens;
      expect(total).toBeLessThanOrEqual(lengthTokens);
      // the largest unit of these tasks here: a needle line, a document or a JSON pair, under 150 byte tokens
      expect(total).toBeGreaterThan(lengthTokens - 150);
      expect(sample.promptTokens).toEqual(adaptTokenizer(tokenizer).encode(sample.prompt));
    }
  });

  it('scores 100 for every right answer and 0 for none', () => {
    expect(first.score(` ${first.references.join(', ')}.`)).toBe(100);
    expect(first.score('%%')).toBe(0);
    expect(first.score('')).toBe(0);
    if (first.references.length > 1 && !task.name.startsWith('qa')) {
      const half = first.references.slice(0, first.references.length >> 1);
      expect(first.score(half.join(' '))).toBeCloseTo((100 * half.length) / first.references.length, 9);
    }
  });

  it('marks exactly the answer tokens in the teacher-forced sample', () => {
    if (first.teacherForced === null) return;
    const { tokens, answers } = first.teacherForced;
    const said = answers.map(([start, end]) => tokenizer.decode(tokens.slice(start, end)).trim());
    expect(said).toEqual(first.references);
    expect(tokens.length).toBeLessThanOrEqual(leastTokens(task));
    expect(tokenizer.decode(tokens, { skipSpecialTokens: true }).startsWith(first.prompt)).toBe(true);
    const lastRange = answers.at(-1) as [number, number];
    expect(lastRange[1]).toBe(tokens.length);
  });

  it('keeps the training templates out', () => {
    const lower = first.prompt.toLowerCase();
    for (const phrase of ['passkey is', 'passkey?', 'passkey to the vault', 'sequence of words'])
      expect(lower).not.toContain(phrase);
  });
});

describe('how often an answer occurs', () => {
  it.each([
    ['single-passkey', 1, 1],
    ['multi-passkey', 10, 1],
    ['niah', 1, 1],
    ['niah_single_1', 1, 1],
    ['niah_single_2', 1, 1],
    ['niah_single_3', 1, 1],
    ['niah_multikey_1', 1, 1],
    ['niah_multikey_2', 1, 1],
    ['niah_multikey_3', 1, 1],
    ['niah_multivalue', 4, 1],
    ['niah_multiquery', 4, 1],
    ['kv-retrieval', 1, 1],
    ['number-string', 1, 2],
  ])('%s: %i answers, each %i times', (name, numAnswers, times) => {
    for (let index = 0; index < 2; index++) {
      const sample = build(byName(name), { index });
      expect(sample.references).toHaveLength(numAnswers);
      expect(new Set(sample.references).size).toBe(numAnswers);
      expect(sample.answerOccurrences).toEqual(sample.references.map(() => times));
      for (const reference of sample.references) expect(countOccurrences(sample.prompt, reference)).toBe(times);
    }
  });

  it('vt: every variable of the chain twice but the last, and the value in statement and question', () => {
    const sample = build(byName('vt'));
    expect(sample.answerOccurrences).toEqual([2, 2, 2, 2, 1]);
    const text = sample.prompt.slice(sample.prompt.indexOf('\n\nThe text below'));
    expect(countOccurrences(text, sample.meta.value as string)).toBe(3);
    expect(countOccurrences(text, 'LET ')).toBe(5);
  });

  it('cwe: 10 words 30 times, the others 3 times; 6 and 1 below 4096 tokens', () => {
    for (const [lengthTokens, common, other] of [
      [12_000, 30, 3],
      [4000, 6, 1],
    ] as const) {
      const sample = build(byName('cwe'), { lengthTokens });
      const list = sample.prompt.slice(sample.prompt.lastIndexOf('most often.'));
      const words = [...list.matchAll(/\d+\. ([a-z]+)/g)].map((match) => match[1] as string);
      const counts = new Map<string, number>();
      for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
      expect(sample.references.map((word) => counts.get(word))).toEqual(new Array(10).fill(common));
      for (const word of sample.references) counts.delete(word);
      expect(counts.size).toBeGreaterThan(5);
      expect(new Set(counts.values())).toEqual(new Set([other]));
    }
  });

  it('fwe: answers are the words of rank 1 to 3, dots the rank before them', () => {
    const sample = build(byName('fwe'), { lengthTokens: 20_000 });
    const text = sample.prompt.split('\n\n')[1] as string;
    const counts = new Map<string, number>();
    for (const word of text.split(' ')) counts.set(word, (counts.get(word) ?? 0) + 1);
    const ranked = [...counts].sort((a, b) => b[1] - a[1]).map(([word]) => word);
    expect(ranked.slice(0, 4)).toEqual(['...', ...sample.references]);
    const [dots, first, second] = ranked.map((word) => counts.get(word) as number) as [number, number, number];
    expect(dots / first).toBeCloseTo(4, 0);
    expect(first / second).toBeCloseTo(9 / 4, 0);
    expect(sample.meta.vocabulary).toBe(400);
  });

  it('qa: each prompt holds every gold document once and a question of the file', () => {
    const one = build(byName('qa_1'));
    expect(one.answerOccurrences[0]).toBeGreaterThan(0);
    const two = build(byName('qa_2'), { lengthTokens: 2000 });
    const person = two.references[0] as string;
    expect(countOccurrences(two.prompt, `${person} leads`)).toBe(1);
    expect(new Set(two.prompt.match(/^\[\d+\]$/gm)).size).toBe(two.meta.documents);
  });
});

describe("as hard as RULER's", () => {
  it('qa_1: paragraphs of the same article come first, equal ones once', () => {
    const article = (title: string, count: number): object => ({
      paragraphs: Array.from({ length: count }, (_, index) => ({
        context: `${title} ${index} is a place with ${index} gates and a wall.`,
        qas: [{ question: `What is ${title} ${index}?`, answers: [{ text: 'a place' }] }],
      })),
    });
    const path = join(folder, 'articles.json');
    writeFileSync(path, JSON.stringify({ data: [article('Alba', 6), article('Brix', 60), article('Alba', 6)] }));
    const set = openTaskFiles({ squad: path });
    expect(set.squad().documents).toHaveLength(66);
    for (let index = 0; index < 8; index++) {
      const sample = build(byName('qa_1'), { files: set, lengthTokens: 1000, index });
      const title = /What is (\w+) \d+\?\nAnswer:$/.exec(sample.prompt)?.[1] as string;
      const shown = sample.prompt.match(/^\w+ \d+ is a place/gm) as string[];
      const same = shown.filter((line) => line.startsWith(title)).length;
      expect(same).toBe(Math.min(shown.length, title === 'Alba' ? 6 : 60));
    }
  });

  it('cwe: single words, a numbered example answer, and no answer inside another word', () => {
    const sample = build(byName('cwe'));
    const list = sample.prompt.slice(sample.prompt.lastIndexOf('most often.'));
    const words = [...new Set([...list.matchAll(/\d+\. ([a-z]+)/g)].map((match) => match[1] as string))];
    const single = new Set([...ADJECTIVES, ...NOUNS]);
    expect(words.filter((word) => !single.has(word))).toEqual([]);
    expect(sample.prompt).toMatch(/most frequent words are 1\. [a-z]+ 2\. [a-z]+ .*10\. [a-z]+\n\n/);
    const long = build(byName('cwe'), { lengthTokens: 60_000 });
    const entries = [...long.prompt.slice(long.prompt.lastIndexOf('most often.')).matchAll(/\d+\. ([a-z]+)/g)];
    const others = new Set(entries.map((match) => match[1] as string));
    expect(others.size).toBeGreaterThan(single.size);
    for (const answer of long.references) others.delete(answer);
    expect([...others].filter((word) => long.references.some((answer) => word.includes(answer)))).toEqual([]);
  });

  it('noise: five sentences per line', () => {
    const lines = build(byName('niah_single_1')).prompt.split('\n');
    expect(lines.filter((line) => line.match(/[^.]+\./g)?.length === 5).length).toBeGreaterThan(20);
  });

  it('niah_multikey_2 has keys for any length', () => {
    const letters = { ...adaptTokenizer(tokenizer), encode: (text: string) => text.split(' ').map(() => 1) };
    const sample = byName('niah_multikey_2').build(options({ tokenizer: letters, lengthTokens: 300_000 }));
    const keys = [...sample.prompt.matchAll(/a secret number of (\S+) is/g)].map((match) => match[1]);
    expect(keys.length).toBeGreaterThan(25_000);
    expect(new Set(keys).size).toBe(keys.length);
  });
});

describe('keys, values and queries of the ruler-style needles', () => {
  it.each([
    ['niah_single_1', 1, 1, 1],
    ['niah_single_2', 1, 1, 1],
    ['niah_single_3', 1, 1, 1],
    ['niah_multikey_1', 4, 1, 1],
    ['niah_multivalue', 1, 4, 1],
    ['niah_multiquery', 4, 1, 4],
  ])('%s hides %i keys of %i values and asks %i', (name, keys, values, queries) => {
    const sample = build(byName(name));
    const needles = [...sample.prompt.matchAll(/a secret (?:number|identifier) of (\S+) is (\S+)\./g)];
    expect(needles).toHaveLength(keys * values);
    expect(new Set(needles.map((match) => match[1])).size).toBe(keys);
    expect(sample.meta.asked).toHaveLength(queries);
    expect(sample.references).toHaveLength(queries * values);
  });

  it.each(['niah_multikey_2', 'niah_multikey_3'])('%s is made of needles only, with distinct keys', (name) => {
    const sample = build(byName(name));
    const needles = [...sample.prompt.matchAll(/a secret (?:number|identifier) of (\S+) is (\S+)\./g)];
    expect(needles).toHaveLength((sample.meta.units as number) + 1);
    expect(new Set(needles.map((match) => match[1])).size).toBe(needles.length);
    expect(new Set(needles.map((match) => match[2])).size).toBe(needles.length);
  });

  it('asks values in the order a reader meets them', () => {
    const sample = build(byName('niah_multivalue'));
    const places = sample.references.map((value) => sample.prompt.indexOf(value));
    expect([...places].sort((a, b) => a - b)).toEqual(places);
  });

  it('draws 7-digit numbers and version-4 UUIDs', () => {
    expect(build(byName('niah_single_1')).references[0]).toMatch(/^[1-9]\d{6}$/);
    const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
    expect(build(byName('niah_multikey_3')).references[0]).toMatch(uuid);
    expect(build(byName('number-string')).references[0]).toMatch(/^\d{10}$/);
  });
});

describe('depth', () => {
  it.each(EVAL_TASKS.filter((task) => task.hasDepth).map((task) => [task.name, task] as const))(
    '%s moves with depth',
    (name, task) => {
      const places = [0, 0.5, 1].map((depth) => {
        const sample = build(task, { depth });
        return sample.prompt.indexOf(sample.references[0] as string) / sample.prompt.length;
      });
      expect(places[0], name).toBeLessThan(0.2);
      expect(places[1]).toBeGreaterThan(0.35);
      expect(places[1]).toBeLessThan(0.65);
      expect(places[2]).toBeGreaterThan(0.8);
    },
  );
});

describe('refusals', () => {
  it('names the least length, which then works', () => {
    for (const task of EVAL_TASKS) {
      let message = '';
      try {
        build(task, { lengthTokens: 60 });
      } catch (error) {
        message = (error as Error).message;
      }
      const least = Number(
        /^Expected task `.+` to get at least (\d+) tokens, \d+ of them for the answer, got 60$/.exec(message)?.[1],
      );
      expect(least, `${task.name}: ${message}`).toBeGreaterThan(60);
      expect(() => build(task, { lengthTokens: least + 400 })).not.toThrow();
    }
  });

  it('names the flag of a file that is missing', () => {
    const none = openTaskFiles({});
    const needed = { niah_single_2: '--essays', niah_multikey_1: '--essays', qa_1: '--squad', qa_2: '--hotpotqa' };
    for (const [name, flag] of Object.entries(needed)) {
      expect(() => build(byName(name), { files: none })).toThrow(`give its path with ${flag}`);
    }
    expect(() => build(byName('niah_multikey_2'), { files: none })).not.toThrow();
  });

  it('says when a file has too little text for a length', () => {
    expect(() => build(byName('qa_2'), { lengthTokens: 50_000 })).toThrow(
      /^Task `qa_2` has text for \d+ tokens only, got a length of 50000$/,
    );
  });

  it('names unknown tasks and wordings', () => {
    expect(() => findTasks(['niah', 'nope'])).toThrow(/^Expected a task of single-passkey, .*, got `nope`$/);
    expect(findTasks(['ruler'])).toEqual(RULER_STYLE_TASKS);
    expect(RULER_STYLE_TASKS).toHaveLength(13);
    expect(() => build(byName('cwe'), { wording: 'small-vocabulary' })).toThrow(
      'Task `cwe` has no wording `small-vocabulary`',
    );
  });

  it('refuses malformed files by place', () => {
    const bad = join(folder, 'bad.json');
    writeFileSync(bad, JSON.stringify({ data: [{ paragraphs: [{ context: 5, qas: [] }] }] }));
    expect(() => openTaskFiles({ squad: bad }).squad()).toThrow(
      `Expected \`context\` in ${bad}, data[0].paragraphs[0] to be a string`,
    );
    writeFileSync(bad, '[{"question": "?"}]');
    expect(() => openTaskFiles({ hotpotqa: bad }).hotpotqa()).toThrow(`Expected a \`context\` in ${bad}, [0]`);
    writeFileSync(bad, '{"data": []}');
    expect(() => openTaskFiles({ squad: bad }).squad()).toThrow('at least one question');
    expect(() => openTaskFiles({ essays: join(folder, 'none.txt') }).essays()).toThrow(/^Cannot read .*none\.txt/);
  });
});

describe('prompts in chat form', () => {
  const plain = adaptTokenizer(tokenizer);
  const chat = wrapInChat(plain, (message) => `<s>user:${message}</s>model:`);

  it.each(EVAL_TASKS.map((task): [string, EvalTask] => [task.name, task]))('%s', (_, task) => {
    const sample = build(task, { tokenizer: chat });
    const text = tokenizer.decode(sample.promptTokens);
    const [user, begun] = text.slice('<s>user:'.length).split('</s>model:') as [string, string];
    expect(text.startsWith('<s>user:')).toBe(true);
    expect(sample.prompt.replace(/\s/g, '')).toBe(`${user}Answer:${begun}`.replace(/\s/g, ''));
    expect(sample.prompt.startsWith(user)).toBe(true);
    expect(sample.promptTokens.length).toBeLessThanOrEqual(leastTokens(task));
    if (sample.teacherForced === null) return;
    const { tokens, answers } = sample.teacherForced;
    const said = answers.map(([start, end]) => tokenizer.decode(tokens.slice(start, end)).trim());
    // a piece may begin within a token of the text before it
    for (const answer of said)
      expect(sample.references.some((reference) => reference.endsWith(answer.replace(/^"/, '')))).toBe(true);
    expect(answers.length).toBeGreaterThan(0);
  });
});
