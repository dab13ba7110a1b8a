// SQuAD 2.0 and HotpotQA in the form in which they are published and RULER reads them: what becomes a question, which documents stand round it.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { openTaskFiles } from '../../../../src/eval/tasks/task-files.ts';

const folder = mkdtempSync(join(tmpdir(), 'duo-questions-'));
afterAll(() => rmSync(folder, { recursive: true }));
function write(name: string, content: unknown): string {
  const path = join(folder, name);
  writeFileSync(path, JSON.stringify(content));
  return path;
}

/** An article of dev-v2.0.json: questions with repeated answers, and one that the paragraph does not answer. */
const article = (title: string, count: number): object => ({
  title,
  paragraphs: Array.from({ length: count }, (_, index) => ({
    qas: [
      {
        question: `Which river runs through ${title} ${index}?`,
        id: `56ddde6b9a695914005b96${index}`,
        answers: [
          { text: `the Aare`, answer_start: 10 },
          { text: `the Aare`, answer_start: 10 },
          { text: `Aare`, answer_start: 14 },
        ],
        is_impossible: false,
      },
      {
        plausible_answers: [{ text: 'cheese', answer_start: 30 }],
        question: `What did ${title} ${index} sell?`,
        id: `5ad39d53604f3c001a3fe8d${index}`,
        answers: [],
        is_impossible: true,
      },
      { question: 'Marked?', id: 'x', answers: [{ text: 'no', answer_start: 0 }], is_impossible: true },
    ],
    context: `Town ${index} of ${title} lies by the Aare.`,
  })),
});

describe('SQuAD 2.0', () => {
  const set = openTaskFiles({
    squad: write('dev-v2.0.json', { version: 'v2.0', data: [article('Bern', 3), article('Thun', 2)] }),
  }).squad();

  it('asks what has an answer, with every accepted answer', () => {
    expect(set.documents).toHaveLength(5);
    expect(set.questions.map(({ question }) => question)).toEqual(
      ['Bern 0', 'Bern 1', 'Bern 2', 'Thun 0', 'Thun 1'].map((town) => `Which river runs through ${town}?`),
    );
    expect(set.questions[0]?.answers).toEqual(['the Aare', 'Aare']);
  });

  it('takes the paragraph as the document that answers, and the others of its article as related', () => {
    expect(set.questions.map(({ gold, related }) => [gold, related])).toEqual([
      [[0], [1, 2]],
      [[1], [0, 2]],
      [[2], [0, 1]],
      [[3], [4]],
      [[4], [3]],
    ]);
  });
});

describe('HotpotQA', () => {
  const entry = {
    _id: '5a8b57f25542995d1e6f1371',
    answer: 'yes',
    question: 'Were they of the same country?',
    supporting_facts: [['Ann Lee', 0]],
    context: [
      ['Ann Lee', ['Ann Lee was a painter.', ' She lived in Bern.']],
      ['Ben Fox', ['Ben Fox was a baker.']],
    ],
    type: 'comparison',
    level: 'hard',
  };

  it('shows all paragraphs of an entry, title first, equal ones once', () => {
    const other = { ...entry, question: 'Who baked?', answer: 'Ben Fox', context: [entry.context[1]] };
    const path = write('hotpot_dev_distractor_v1.json', [entry, other]);
    const { documents, questions } = openTaskFiles({ hotpotqa: path }).hotpotqa();
    expect(documents).toEqual(['Ann Lee\nAnn Lee was a painter. She lived in Bern.', 'Ben Fox\nBen Fox was a baker.']);
    expect(questions).toEqual([
      { question: entry.question, answers: ['yes'], gold: [0, 1], related: [] },
      { question: 'Who baked?', answers: ['Ben Fox'], gold: [1], related: [] },
    ]);
  });
});

it.each([
  ['squad', '--squad (SQuAD 2.0 as RULER uses it: dev-v2.0.json of https://rajpurkar.github.io/SQuAD-explorer/)'],
  ['hotpotqa', '--hotpotqa (HotpotQA as RULER uses it: hotpot_dev_distractor_v1.json of https://hotpotqa.github.io/)'],
  ['essays', "RULER's PaulGrahamEssays.json"],
] as const)('says which file %s is and where it comes from', (flag, words) => {
  expect(() => openTaskFiles({})[flag]()).toThrow(words);
});
