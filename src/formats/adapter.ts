// adapter_config.json of PEFT: what makes a folder, or a repository, an adapter (LoRA and its kin) in place of a model. It is not applied here.
import { jsonText } from '../core/json-text.ts';
import { ModelError } from '../errors/errors.ts';
import { readJson } from './read-json.ts';

export const ADAPTER_FILE = 'adapter_config.json';
/** Published ones stay under 10 KB. */
const MAX_ADAPTER_BYTES = 2 ** 20;
const MAX_SHOWN = 60;

/** Why an adapter is no model, with the name of its base where the file has it.
 * @param about.place the folder or the name on the Hub.  @param about.isAlone no config.json of a model is in the same folder.
 * @throws {FormatError} the file is no JSON; {FileError}. */
export function adapterError(path: string, about: { place: string; isAlone: boolean }): ModelError {
  const fields = readJson(path, MAX_ADAPTER_BYTES) as { base_model_name_or_path?: unknown } | null;
  const base = fields?.base_model_name_or_path ?? null;
  const name = typeof base === 'string' ? base : (jsonText(base) ?? '');
  const of = base === null ? '' : ` of \`${name.slice(0, MAX_SHOWN)}\``;
  const alone = about.isAlone ? '' : `, or remove ${ADAPTER_FILE} to use the model in the same folder without it`;
  return new ModelError(
    `Expected a whole model in ${about.place}, got an adapter${of} (${ADAPTER_FILE}); merge it into its base model (\`merge_and_unload\` of PEFT, then \`save_pretrained\`) and pass that folder${alone}.`,
  );
}
