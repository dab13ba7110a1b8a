// A model's name on the Hub as `--model` takes it: org/name[@revision][:quantisation].
import { ModelError } from '../errors/errors.ts';

/** A name in its parts. */
export interface HubName {
  /** `org/name` */
  readonly repository: string;
  /** a branch, tag or commit; `main` where none is named */
  readonly revision: string;
  /** which GGUF file of the repository, such as `Q4_K_M`; null for safetensors */
  readonly quantisation: string | null;
}

const PART = /^[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9_])?$/;
const REVISION = /^[A-Za-z0-9][\w./-]*$/;
const FILE_ENDING = /\.(?:gguf|safetensors|jsonl?|tsv)$/i;
const QUANTISATION = /^[A-Za-z0-9][\w.-]*$/;
/** The Hub's own limit for each part of a name. */
const MAX_PART_LENGTH = 96;

/** The parts of a name, or null where the text has not the form of one: a path never has, since it begins with `/`, `.` or `~`, has more than one
 * slash, or ends as the files do that `--model` and inspect take, so that a mistyped one is not looked for on the Hub.
 * @throws {ModelError} the form of a name, but with a revision or quantisation that cannot be. */
export function parseHubName(text: string): HubName | null {
  const match = /^([^/@:\s]+)\/([^/@:\s]+)(?:@([^:\s]*))?(?::(\S*))?$/.exec(text);
  if (!match || FILE_ENDING.test(text)) return null;
  const [, organisation, name, revision, quantisation] = match as unknown as [
    string,
    string,
    string,
    ...(string | undefined)[],
  ];
  const isName = [organisation, name].every(
    (part) => PART.test(part) && part.length <= MAX_PART_LENGTH && !part.includes('..') && !part.includes('--'),
  );
  if (!isName) return null;
  if (revision !== undefined && (!REVISION.test(revision) || revision.includes('..'))) {
    throw new ModelError(`Expected a branch, tag or commit after the @ of \`${text}\`, got \`${revision}\`.`);
  }
  if (quantisation !== undefined && !QUANTISATION.test(quantisation)) {
    throw new ModelError(
      `Expected a quantisation such as Q4_K_M after the colon of \`${text}\`, got \`${quantisation}\`.`,
    );
  }
  return { repository: `${organisation}/${name}`, revision: revision ?? 'main', quantisation: quantisation ?? null };
}
