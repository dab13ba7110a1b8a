// duo run: continue a prompt under a mask; the text goes to stdout as it comes, figures to stderr.
import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { countKvBytes } from '../core/kv-cost.ts';
import { isQuantizedKv, type PrefillSemantics, type SessionMemory } from '../core/session.ts';
import { formatBytes } from '../core/words.ts';
import type { Engine } from '../engine/engine.ts';
import { GPU_CHUNK_TOKENS } from '../engine/open-engine.ts';
import { AbortedError, ConfigError, FormatError } from '../errors/errors.ts';
import { fileErrorOf } from '../formats/file-errors.ts';
import type { ModelFolder } from '../model/folder.ts';
import { type GenerateResult, generateText } from '../runtime/generate.ts';
import { type ChatMessage, encodeChat } from '../text/chat-template.ts';
import { openTokenizer, type Tokenizer } from '../text/tokenizer.ts';
import { addKvOptions, describeKv, type KvStorage, readKvFlags } from './kv-flags.ts';
import { readMaskFlag } from './mask-flag.ts';
import { readChoiceFlag, readIntegerFlag, readNumberFlag } from './numbers.ts';
import {
  addActivationsOption,
  addEngineOptions,
  addWeightsOption,
  type EngineFlags,
  openEngine,
  openModel,
} from './open.ts';
import { addProgressOption, makeProgress } from './progress.ts';
import { stdoutClosed, writeStdout } from './stdout.ts';
import { printJson, say } from './terminal.ts';

interface RunFlags extends EngineFlags {
  readonly model: string;
  readonly mask?: string;
  readonly prompt?: string;
  readonly promptFile?: string;
  readonly chat?: boolean;
  readonly system?: string;
  readonly maxNewTokens: string;
  readonly temperature: string;
  readonly topK: string;
  readonly topP: string;
  readonly seed: string;
  readonly stop: string[];
  readonly kvDtype?: string;
  readonly kvRotation?: string;
  readonly chunk?: string;
  readonly prefill: string;
  readonly allowOtherModel?: boolean;
  readonly json?: boolean;
}

const PREFILLS: readonly PrefillSemantics[] = ['exact', 'chunked'];

export function defineRunCommand(command: Command, signal: AbortSignal): void {
  command
    .requiredOption('--model <dir|demo>', 'model folder')
    .option('--mask <file>', 'mask.json, or a run folder that has one; default: every head full')
    .option('--prompt <text>', 'the text to continue')
    .option('--prompt-file <file>', 'read it from a file, - for stdin')
    .option('--chat', "wrap the prompt as a user's message in the model's chat template")
    .option('--system <text>', 'with --chat: the system message')
    .option('--max-new-tokens <n>', 'maximum number of tokens to add', '256')
    .option('--temperature <t>', '0 takes the likeliest token, 1 draws as the model says', '0')
    .option('--top-k <k>', 'draw from the k likeliest tokens, 0 = all', '0')
    .option('--top-p <p>', 'draw from the likeliest tokens that hold this probability together', '1')
    .option('--seed <n>', 'decides the draws', '42')
    .option('--stop <text>', 'end before this text; may be repeated', (text, list: string[]) => [...list, text], [])
    .option('--chunk <n>', 'tokens of one internal prefill chunk')
    .option('--prefill <how>', 'exact, or chunked as the reference does: streaming heads see the chunk', 'exact')
    .option('--allow-other-model', 'accept a mask made for another model of the same shape')
    .option('--json', 'print one JSON document at the end instead of the text as it comes');
  addKvOptions(command);
  addProgressOption(addWeightsOption(addActivationsOption(addEngineOptions(command)))).action((flags: RunFlags) =>
    run(flags, signal),
  );
}

async function run(flags: RunFlags, signal: AbortSignal): Promise<void> {
  const text = readPrompt(flags);
  const options = readRunOptions(flags);
  const folder = await openModel(flags.model, { signal });
  try {
    const mask = readMaskFlag(flags, folder);
    const tokenizer = openTokenizer(folder.path);
    const prompt = encodePrompt(text, { flags, folder, tokenizer });
    const maxNewTokens = fitNewTokens(options.maxNewTokens, { prompt, folder });
    const maxTokens = prompt.length + maxNewTokens;
    const dtype = options.session.kvDtype ?? 'f32';
    // only a GPU is asked whether this fits together with the weights
    const cache = { mask, tokens: maxTokens, dtype, device: 'cuda' };
    const besideBytes = countKvBytes({ model: folder.config.shape, ...cache });
    const tokens = Math.min(prompt.length, GPU_CHUNK_TOKENS);
    const engine = await openEngine(folder, flags, { next: { pass: 'forward', tokens, besideBytes } });
    try {
      const session = await engine.openSession(mask, { ...options.session, maxTokens });
      try {
        const progress = makeProgress('prefill', { isSilent: flags.json === true });
        const result = await generateText(
          { session, tokenizer, prompt },
          {
            ...options.sampling,
            maxNewTokens,
            stopTokens: [...new Set([...folder.config.eosTokenIds, ...tokenizer.eosTokenIds])],
            stopStrings: flags.stop,
            signal: AbortSignal.any([signal, stdoutClosed]),
            onPrefill: (done, total) => (done < total ? progress.update(done, total) : progress.finish()),
            onText: (piece) => {
              if (!flags.json) writeStdout(piece);
            },
          },
        );
        const ropeBaseTokens = folder.config.ropeScaling.type === 'dynamic' ? maxTokens : null;
        const { length: promptTokens } = prompt;
        const kv = options.session;
        report({ flags, kv, result, memory: session.memory(), engine, promptTokens, ropeBaseTokens });
      } catch (error) {
        // The reader has closed its end: the work is done.
        if (!(error instanceof AbortedError && stdoutClosed.aborted && !signal.aborted)) throw error;
      } finally {
        await session.close();
      }
    } finally {
      await engine.close();
    }
  } finally {
    folder.close();
  }
}

function readPrompt(flags: RunFlags): string {
  if ((flags.prompt === undefined) === (flags.promptFile === undefined)) {
    throw new ConfigError(
      `Expected --prompt or --prompt-file, got ${flags.prompt === undefined ? 'neither' : 'both'}.`,
    );
  }
  if (flags.system !== undefined && !flags.chat) throw new ConfigError('Expected --system only with --chat.');
  if (flags.prompt !== undefined) return flags.prompt;
  return readPromptFile(flags.promptFile as string);
}

/** @throws {FileError}; {FormatError} not UTF-8. */
function readPromptFile(path: string): string {
  const name = path === '-' ? 'standard input' : path;
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(path === '-' ? 0 : path);
  } catch (cause) {
    throw fileErrorOf('read', name, cause);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new FormatError(`Expected ${name} to be UTF-8 text, found other bytes; convert it first.`, { cause });
  }
}

function readRunOptions(flags: RunFlags): {
  maxNewTokens: number;
  sampling: { temperature: number; topK: number; topP: number; seed: number };
  session: KvStorage & { chunkTokens?: number; prefill: PrefillSemantics };
} {
  const { chunk } = flags;
  if (flags.stop.includes('')) throw new ConfigError('Expected --stop to name a text of at least one character.');
  const topP = readNumberFlag('--top-p', { text: flags.topP, least: 0, most: 1 });
  if (topP === 0) throw new ConfigError('Expected --top-p to be above 0 and at most 1, got `0`.');
  return {
    maxNewTokens: readIntegerFlag('--max-new-tokens', { text: flags.maxNewTokens, least: 1 }),
    sampling: {
      temperature: readNumberFlag('--temperature', { text: flags.temperature, least: 0 }),
      topK: readIntegerFlag('--top-k', { text: flags.topK, least: 0 }),
      topP,
      seed: readIntegerFlag('--seed', { text: flags.seed, least: 0 }),
    },
    session: {
      ...readKvFlags(flags),
      ...(chunk !== undefined && { chunkTokens: readIntegerFlag('--chunk', { text: chunk, least: 1 }) }),
      prefill: readChoiceFlag('--prefill', { text: flags.prefill, names: PREFILLS }),
    },
  };
}

function encodePrompt(text: string, options: { flags: RunFlags; folder: ModelFolder; tokenizer: Tokenizer }): number[] {
  const { flags, folder, tokenizer } = options;
  const messages: ChatMessage[] = [{ role: 'user', content: text }];
  if (flags.system !== undefined) messages.unshift({ role: 'system', content: flags.system });
  const tokens = flags.chat
    ? encodeChat(tokenizer, { modelFolder: folder.path, messages })
    : tokenizer.encode(text, { addSpecialTokens: true });
  if (tokens.length === 0) throw new ConfigError('Expected a prompt of at least one token, got an empty text.');
  return tokens;
}

/** Tokens that may be added without passing the longest text the model declares. */
function fitNewTokens(asked: number, options: { prompt: readonly number[]; folder: ModelFolder }): number {
  const { maxPositions } = options.folder.config.shape;
  const room = maxPositions - options.prompt.length;
  if (room < 1) {
    throw new ConfigError(
      `Expected a prompt of fewer than ${maxPositions} tokens, the longest text the model declares, got ${options.prompt.length}.`,
    );
  }
  if (asked > room) say(`duo run: the model's ${maxPositions} positions leave room for ${room} new tokens.`);
  return Math.min(asked, room);
}

function report(ran: {
  flags: RunFlags;
  kv: KvStorage;
  result: GenerateResult;
  memory: SessionMemory;
  engine: Engine;
  promptTokens: number;
  /** T_max that dynamic rope scaling took its base from, null without it */
  ropeBaseTokens: number | null;
}): void {
  const { flags, kv, result, memory, engine, promptTokens, ropeBaseTokens } = ran;
  const kvDtype = kv.kvDtype ?? 'f32'; // what both engines take by default
  const prefillRate = promptTokens / result.prefillSeconds;
  const decodeRate = result.decodedTokens === 0 ? null : result.decodedTokens / result.decodeSeconds;
  if (flags.json) {
    const { text, tokens, stopReason, prefillSeconds, decodeSeconds, decodedTokens } = result;
    const rates = { prefillTokensPerSecond: prefillRate, decodeTokensPerSecond: decodeRate };
    const timing = { promptTokens, prefillSeconds, decodeSeconds, decodedTokens, ...rates };
    printJson({
      text,
      tokens,
      stopReason,
      ...timing,
      ...memory,
      kvDtype,
      kvRotation: isQuantizedKv(kvDtype) ? kv.kvRotation !== false : null,
      ropeBaseTokens,
      engine: engine.name,
      device: engine.device,
      activations: flags.activations ?? 'float32',
      weights: flags.weights ?? 'stored',
    });
    return;
  }
  writeStdout('\n');
  const decoded =
    decodeRate === null ? '' : ` · decode ${result.decodedTokens} tokens, ${decodeRate.toFixed(1)} tokens/s`;
  say(
    `duo run: prefill ${promptTokens} tokens in ${result.prefillSeconds.toFixed(2)} s, ${prefillRate.toFixed(1)} tokens/s${decoded} · ` +
      `KV cache ${formatBytes(memory.kvBytes)} (${memory.kvBytes} bytes) of ${formatBytes(memory.fullKvBytes)} with every head full, ` +
      `${describeKv(kvDtype, kv.kvRotation)} · ` +
      `${engine.name} on ${engine.device}`,
  );
  if (ropeBaseTokens !== null) say(`duo run: dynamic rope scaling took its base from ${ropeBaseTokens} tokens.`);
}
