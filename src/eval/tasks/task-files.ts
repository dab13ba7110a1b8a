// The user's local files some tasks read: essays, SQuAD, HotpotQA. Each is read once, and only when a task asks for it.

import { createHash } from 'node:crypto';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError, FormatError } from '../../errors/errors.ts';
import { fileErrorOf } from '../../formats/atomic-file.ts';
import { readJson, readTextWithin } from '../../formats/read-json.ts';

/** The largest of the published files, HotpotQA's training set, has 566 MB. */
const MAX_FILE_BYTES = 1024 * 2 ** 20;

/** One question, its accepted answers, and which documents hold it. */
export interface Question {
  readonly question: string;
  readonly answers: readonly string[];
  /** indices into `documents` */
  readonly gold: readonly number[];
  /** indices of other documents on the same matter: the hardest to distinguish from the right one */
  readonly related: readonly number[];
}

export interface QuestionSet {
  readonly documents: readonly string[];
  readonly questions: readonly Question[];
}

/** Each getter throws {ConfigError} naming its flag where no path was given. */
export interface TaskFiles {
  /** running text: a .txt file, a folder of them (in name order), or JSON with a `text` field */
  essays(): string;
  /** SQuAD v1 or v2 JSON */
  squad(): QuestionSet;
  /** HotpotQA JSON (distractor setting) */
  hotpotqa(): QuestionSet;
}

/** Paths of the flags of the same names. */
export interface TaskFilePaths {
  readonly essays?: string;
  readonly squad?: string;
  readonly hotpotqa?: string;
}

/** sha256:… over the contents of the files given, whatever they are called. @throws {FileError}. */
export function hashTaskFiles(paths: TaskFilePaths): string {
  const hash = createHash('sha256');
  for (const flag of ['essays', 'squad', 'hotpotqa'] as const) {
    hash.update(`${flag}\n`);
    const path = paths[flag];
    if (path !== undefined) for (const file of listTextFiles(path)) hash.update(readTextWithin(file, MAX_FILE_BYTES));
  }
  return `sha256:${hash.digest('hex')}`;
}

/** Files at these paths, read on first use.
 * @throws (on use) {ConfigError} path not given; {FileError}; {FormatError} with file and place. */
export function openTaskFiles(paths: TaskFilePaths): TaskFiles {
  return {
    essays: readOnce('essays', paths.essays, readEssays),
    squad: readOnce('squad', paths.squad, readSquad),
    hotpotqa: readOnce('hotpotqa', paths.hotpotqa, readHotpotqa),
  };
}

/** Which file each flag wants, and where RULER's own scripts take it from. */
const SOURCES: Readonly<Record<keyof TaskFilePaths, string>> = {
  essays:
    "a text, a folder of texts, or RULER's PaulGrahamEssays.json, which its download_paulgraham_essay.py collects",
  squad: 'SQuAD 2.0 as RULER uses it: dev-v2.0.json of https://rajpurkar.github.io/SQuAD-explorer/',
  hotpotqa: 'HotpotQA as RULER uses it: hotpot_dev_distractor_v1.json of https://hotpotqa.github.io/',
};

function readOnce<T>(flag: keyof TaskFilePaths, path: string | undefined, read: (path: string) => T): () => T {
  let value: { readonly read: T } | undefined;
  return () => {
    if (path === undefined)
      throw new ConfigError(`This task reads a file of yours: give its path with --${flag} (${SOURCES[flag]})`);
    value ??= { read: read(path) };
    return value.read;
  };
}

function readEssays(path: string): string {
  const text = listTextFiles(path).map(readEssay).join('\n');
  if (!/\S/.test(text)) throw new FormatError(`Expected ${path} to hold text (.txt or .md files), got none.`);
  return text;
}

/** The file itself, or the .txt and .md files of a folder by name. @throws {FileError}. */
function listTextFiles(path: string): string[] {
  try {
    if (!statSync(path).isDirectory()) return [path];
    const names = readdirSync(path).filter((name) => /\.(txt|md)$/.test(name));
    return names.sort().map((name) => join(path, name));
  } catch (cause) {
    throw fileErrorOf('read', path, cause);
  }
}

function readEssay(path: string): string {
  if (!path.endsWith('.json')) return readTextWithin(path, MAX_FILE_BYTES);
  const json = readJson(path, MAX_FILE_BYTES) as { text?: unknown } | null;
  if (typeof json?.text === 'string') return json.text;
  throw new FormatError(`Expected ${path} to be a JSON object with a \`text\` string.`);
}

function readSquad(path: string): QuestionSet {
  const documents = new DocumentList();
  const questions: Question[] = [];
  const data = field(readJson(path, MAX_FILE_BYTES), 'data', path);
  for (const [a, article] of listOf(data, 'data', path).entries()) {
    const paragraphs = listOf(field(article, 'paragraphs', `${path}, data[${a}]`), 'paragraphs', `${path}, data[${a}]`);
    const own = paragraphs.map((paragraph, p): number => {
      const place = `${path}, data[${a}].paragraphs[${p}]`;
      return documents.add(textOf(field(paragraph, 'context', place), 'context', place));
    });
    for (const [p, paragraph] of paragraphs.entries()) {
      const place = `${path}, data[${a}].paragraphs[${p}]`;
      const gold = own[p] as number;
      const related = [...new Set(own)].filter((index) => index !== gold);
      for (const [q, qa] of listOf(field(paragraph, 'qas', place), 'qas', place).entries()) {
        const answers = listOf(field(qa, 'answers', `${place}.qas[${q}]`), 'answers', `${place}.qas[${q}]`);
        // SQuAD 2.0's questions without an answer
        if (answers.length === 0 || (qa as { is_impossible?: unknown }).is_impossible === true) continue;
        const question = textOf(field(qa, 'question', `${place}.qas[${q}]`), 'question', `${place}.qas[${q}]`);
        const texts = answers.map((answer) => textOf(field(answer, 'text', place), 'text', `${place}.qas[${q}]`));
        questions.push({ question, answers: [...new Set(texts)], gold: [gold], related });
      }
    }
  }
  return checkQuestions({ documents: documents.texts, questions }, path);
}

function readHotpotqa(path: string): QuestionSet {
  const documents = new DocumentList();
  const questions = listOf(readJson(path, MAX_FILE_BYTES), 'the document', path).map((entry, index): Question => {
    const place = `${path}, [${index}]`;
    const gold = listOf(field(entry, 'context', place), 'context', place).map((paragraph) => {
      const [title, sentences] = listOf(paragraph, 'context entry', place);
      const lines = listOf(sentences, 'sentences', place).map((line) => textOf(line, 'sentence', place));
      const text = `${textOf(title, 'title', place)}\n${lines.join('')}`;
      return documents.add(text);
    });
    const question = textOf(field(entry, 'question', place), 'question', place);
    return { question, answers: [textOf(field(entry, 'answer', place), 'answer', place)], gold, related: [] };
  });
  return checkQuestions({ documents: documents.texts, questions }, path);
}

/** Documents, equal ones once. */
class DocumentList {
  readonly texts: string[] = [];
  readonly #known = new Map<string, number>();

  /** @returns the document's index. */
  add(text: string): number {
    const at = this.#known.get(text) ?? this.texts.length;
    if (at === this.texts.length) this.texts.push(text);
    this.#known.set(text, at);
    return at;
  }
}

function checkQuestions(set: QuestionSet, path: string): QuestionSet {
  if (set.questions.length > 0) return set;
  throw new FormatError(`Expected ${path} to hold at least one question with an answer, got none.`);
}

function field(value: unknown, key: string, place: string): unknown {
  const found = (value as Record<string, unknown> | null)?.[key];
  if (found === undefined) throw new FormatError(`Expected a \`${key}\` in ${place}, got none.`);
  return found;
}

function listOf(value: unknown, name: string, place: string): unknown[] {
  if (Array.isArray(value)) return value;
  throw new FormatError(`Expected \`${name}\` in ${place} to be a list, got \`${typeof value}\`.`);
}

function textOf(value: unknown, name: string, place: string): string {
  if (typeof value === 'string') return value;
  throw new FormatError(`Expected \`${name}\` in ${place} to be a string, got \`${typeof value}\`.`);
}
