// A Hugging Face model folder as downloaded, or a GGUF file: finds config.json and the weights, checks one against the other, names the model.
// The tokenizer and the chat template of the same folder are read by src/text.
import { existsSync, readdirSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { ModelError } from '../errors/errors.ts';
import { isGgufFile } from '../formats/gguf.ts';
import { readJson } from '../formats/read-json.ts';
import { type ModelConfig, parseModelConfig } from './config.ts';
import { isRecord, readTokenIds, showValue } from './config-fields.ts';
import { computeFingerprint, computeOlderFingerprint } from './fingerprint.ts';
import { nameGgufModel, openGgufModel } from './gguf-model.ts';
import { adviseOnFolder, locateModelFolder } from './locate-folder.ts';
import { adviseOnMissing } from './missing-tensor.ts';
import { HEAD_NAME, listExpectedTensors } from './tensor-names.ts';
import { checkTiedHead } from './tied-head.ts';
import { openWeights, type WeightStore } from './weights.ts';

/** An open model folder; `close` releases its files. */
export interface ModelFolder {
  /** the folder with config.json, or the GGUF file (of a split model the first) */
  readonly path: string;
  /** last part of the path, or of the name in the Hub's cache; of a GGUF file without its ending and part number */
  readonly name: string;
  readonly config: ModelConfig;
  /** null where the folder holds none and they were optional */
  readonly weights: WeightStore | null;
  /** `sha256:…`, null without weights */
  readonly fingerprint: string | null;
  /** the older kind, computed from the files, which older masks carry; null without safetensors weights */
  readonly olderFingerprint: string | null;
  close(): void;
}

/** Published ones stay under 100 KB. */
const MAX_CONFIG_BYTES = 2 ** 22;

/** Open and check a model folder or a GGUF file; values are not read yet.
 * @param path the folder or file.  @param options.weights `required` (default), or `optional`: config.json alone is enough.
 * @throws {ModelError} no folder, a hub name, an unsupported model, a missing or unfit tensor; {FormatError} a malformed file; {FileError}. */
export function openModelFolder(path: string, options?: { weights?: 'required' | 'optional' }): ModelFolder {
  if (isGgufFile(path) || (path.toLowerCase().endsWith('.gguf') && isFile(path))) {
    const { config, weights } = openGgufModel(path);
    return checkModel({ path: weights.files[0]!, name: nameGgufModel(path), config, weights });
  }
  return openLocated(locateModelFolder(path), options?.weights ?? 'required');
}

function openLocated({ path, name }: { path: string; name: string }, need: 'required' | 'optional'): ModelFolder {
  const json = readConfigJson(path);
  const weights = openWeights(path);
  try {
    const config = readConfig(path, { json, weights });
    if (weights === null && need === 'required') throw missingWeights(path);
    return checkModel({ path, name, config, weights });
  } catch (cause) {
    weights?.close();
    throw cause;
  }
}

/** Check weights against the config; closes them where they do not fit. */
function checkModel(model: Pick<ModelFolder, 'path' | 'name' | 'config' | 'weights'>): ModelFolder {
  const { path, config, weights } = model;
  try {
    if (weights !== null) {
      checkTensors(config, { weights, path });
      checkTiedHead(config, weights);
    }
    return {
      ...model,
      fingerprint: weights === null ? null : computeFingerprint(config, weights),
      olderFingerprint: weights === null ? null : computeOlderFingerprint(config, weights),
      close: () => weights?.close(),
    };
  } catch (cause) {
    weights?.close();
    throw cause;
  }
}

function readConfigJson(path: string): unknown {
  const configPath = join(path, 'config.json');
  if (!existsSync(configPath)) {
    if (listFiles(path, '.gguf').length > 0) throw ggufError(path);
    throw new ModelError(`Expected config.json in the model folder ${path}, found none; ${adviseOnFolder(path)}.`);
  }
  const json = readJson(configPath, MAX_CONFIG_BYTES);
  // What the Hub answers in JSON where access was not granted.
  if (isRecord(json) && typeof json.error === 'string' && !('model_type' in json)) {
    throw new ModelError(
      `Expected ${configPath} to describe a model, got the notice ${showValue(json.error)}; accept the terms on the page of the model, log in (\`hf auth login\`) and download it again.`,
    );
  }
  return json;
}

function readConfig(path: string, parts: { json: unknown; weights: WeightStore | null }): ModelConfig {
  const { json, weights } = parts;
  const config = parseModelConfig(json, join(path, 'config.json'), {
    ...(weights !== null && { storesHead: weights.has(HEAD_NAME) }),
    ...readTextLength(path),
  });
  const generationPath = join(path, 'generation_config.json');
  if (!existsSync(generationPath)) return config;
  const fields = readJson(generationPath, MAX_CONFIG_BYTES);
  if (!isRecord(fields)) return config;
  // Instruct models name their end-of-turn token only here.
  const notes = [...config.notes];
  const stops = readTokenIds({ fields, place: generationPath }, 'eos_token_id', notes);
  return { ...config, eosTokenIds: [...new Set([...config.eosTokenIds, ...stops])], notes };
}

/** `model_max_length` of the tokenizer, where it is a number; 10^30 means none. */
function readTextLength(path: string): { textLength?: number } {
  const tokenizerPath = join(path, 'tokenizer_config.json');
  if (!existsSync(tokenizerPath)) return {};
  const fields = readJson(tokenizerPath, MAX_CONFIG_BYTES);
  const length = isRecord(fields) ? fields.model_max_length : undefined;
  return typeof length === 'number' ? { textLength: length } : {};
}

/** Every tensor the model needs is there, in its shape and in a dtype that duo reads. */
function checkTensors(config: ModelConfig, folder: { weights: WeightStore; path: string }): void {
  const { weights, path } = folder;
  for (const { name, shape } of listExpectedTensors(config)) {
    const expected = `Expected tensor \`${name}\` of shape [${shape.join(', ')}]`;
    if (!weights.has(name)) {
      throw new ModelError(
        `${expected} in ${path} (${weights.files.map((file) => basename(file)).join(', ')}), found none; ${adviseOnMissing(name, weights)}.`,
      );
    }
    const info = weights.info(name);
    if (info.shape.length !== shape.length || info.shape.some((size, axis) => size !== shape[axis])) {
      throw new ModelError(
        `${expected} in ${info.file}, got [${info.shape.join(', ')}]; check that config.json belongs to these weights.`,
      );
    }
  }
}

function missingWeights(path: string): ModelError {
  if (listFiles(path, '.gguf').length > 0) return ggufError(path);
  const pickles = listFiles(path, '.bin', '.pth', '.pt');
  const cure =
    pickles.length > 0
      ? `${pickles[0]} is a PyTorch file, which duo does not read; convert the model to safetensors`
      : 'download the weights as well';
  return new ModelError(`Expected *.safetensors weights in ${path}, found none; ${cure}.`);
}

/** A folder of GGUF files, of which a person has to choose one. */
function ggufError(path: string): ModelError {
  const files = listFiles(path, '.gguf').sort();
  return new ModelError(
    `Expected config.json and *.safetensors weights in ${path}, found ${files.length === 1 ? 'a GGUF file' : `${files.length} GGUF files`}; pass the file itself, for example --model ${join(path, files[0]!)}.`,
  );
}

function listFiles(folder: string, ...endings: string[]): string[] {
  return readdirSync(folder).filter((name) => endings.some((ending) => name.toLowerCase().endsWith(ending)));
}

function isFile(path: string): boolean {
  try {
    return statSync(path).isFile();
  } catch {
    return false;
  }
}
