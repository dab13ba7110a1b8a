import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { loadPreset, PRESET_NAMES } from '../../../src/config/presets.ts';
import { ConfigError, FileError, FormatError } from '../../../src/errors/errors.ts';

const folder = mkdtempSync(join(tmpdir(), 'duo-config-'));
afterAll(() => rmSync(folder, { recursive: true }));

function write(text: string): string {
  const path = join(folder, 'x.json');
  writeFileSync(path, text);
  return path;
}

describe('loadPreset', () => {
  it('reads every file of configs/, and no other name is known', () => {
    const files = readdirSync(new URL('../../../configs', import.meta.url)).map((name) => name.replace('.json', ''));
    expect(files.sort()).toEqual([...PRESET_NAMES].sort());
    for (const name of files) expect(loadPreset(name).description).toMatch(/\.$/);
  });

  it('holds the published recipe in base, and what the comparison of methods found best', () => {
    expect(loadPreset('base').config).toMatchObject({
      sinkTokens: 128,
      recentTokens: 256,
      lambda: 0.05,
      lr: 0.02,
      steps: 2000,
      minTokens: 2048,
      maxTokens: 32768,
      lengthCount: 50,
      passkeys: 10,
      wordsPerPasskey: 32,
      depthMin: 0.05,
      depthMax: 0.95,
      depthCount: 1000,
      supervise: 'predict',
      fullBranch: 'student',
      method: 'quadratic',
      objective: 'both',
      quadraticSamples: 16,
      seed: 42,
    });
    expect(loadPreset('base').config.alphabet).toHaveLength(26);
    expect(loadPreset('base').config.ordinals).toHaveLength(20);
  });

  it('lays a file over base, templates one by one, sink and recent under either name', () => {
    const base = loadPreset('base').config;
    const path = write('{"description": "Mine.", "sink": 4, "recentTokens": 8, "templates": {"close": " End."}}');
    const preset = loadPreset(path);
    expect(preset).toEqual({
      name: path,
      description: 'Mine.',
      ownKeys: new Set(['sink', 'recentTokens', 'templates']),
      config: { ...base, sinkTokens: 4, recentTokens: 8, templates: { ...base.templates, close: ' End.' } },
    });
  });

  const wrong: [text: string, message: string][] = [
    ['{"sinkTokns": 3}', 'Unknown key `sinkTokns` in PATH; the nearest known key is `sinkTokens`.'],
    ['{"Steps": 3}', 'Unknown key `Steps` in PATH; the nearest known key is `steps`.'],
    ['{"__proto__": {"steps": 3}}', 'Unknown key `__proto__` in PATH; the nearest known key is '],
    [
      '{"templates": {"needel": ""}}',
      'Unknown key `templates.needel` in PATH; the nearest known key is `templates.needle`.',
    ],
    ['{"sink": 3, "sinkTokens": 3}', 'Expected either `sink` or `sinkTokens` in PATH, got both.'],
    ['{"sinkTokens": -1}', 'Expected `sinkTokens` to be an integer of at least 0, got `-1` in PATH.'],
    ['{"recentTokens": 0}', 'Expected `recentTokens` to be an integer of at least 1, got `0` in PATH.'],
    ['{"steps": 1.5}', 'Expected `steps` to be an integer of at least 1, got `1.5` in PATH.'],
    ['{"steps": "20"}', 'Expected `steps` to be an integer of at least 1, got `20` in PATH.'],
    ['{"lr": 1e999}', 'Expected `lr` to be a number above 0 and at most 1000, got `Infinity` in PATH.'],
    [
      '{"streamingFraction": 1.2}',
      'Expected `streamingFraction` to be a number from 0 to 1, or null, got `1.2` in PATH.',
    ],
    [
      '{"streamingFraction": 0.5, "threshold": 0.5}',
      'Expected either `streamingFraction` or `threshold`, got both in PATH.',
    ],
    ['{"supervise": "all"}', 'Expected `supervise` to be one of "predict", "answer", got `all` in PATH.'],
    ['{"minTokens": 9, "maxTokens": 8}', 'Expected `minTokens` to be at most `maxTokens`, got `9` and `8` in PATH.'],
    [
      '{"depthMin": 0.9, "depthMax": 0.5}',
      'Expected `depthMin` to be at most `depthMax`, got `0.9` and `0.5` in PATH.',
    ],
    ['{"passkeys": 21}', 'Expected `passkeys` to be at most the number of `ordinals`, got `21` and `20` in PATH.'],
    ['{"depthCount": 9}', 'Expected `passkeys` to be at most `depthCount`, got `10` and `9` in PATH.'],
    [
      '{"alphabet": ["a", "b"], "wordsPerPasskey": 3}',
      'Expected `alphabet` and `wordsPerPasskey` to allow 10 distinct passkeys, got `2` words and `3` a passkey in PATH.',
    ],
    [
      '{"alphabet": ["a", "a"]}',
      'Expected `alphabet` to be a list of at least one distinct word without white space, got `["a","a"]` in PATH.',
    ],
    [
      '{"alphabet": []}',
      'Expected `alphabet` to be a list of at least one distinct word without white space, got `[]` in PATH.',
    ],
    [
      '{"templates": {"needle": "none"}}',
      'Expected `templates.needle` to be a text that holds {passkey} once, straight after a character that is not white space, got `none` in PATH.',
    ],
    [
      '{"templates": {"needle": "is: {passkey}"}}',
      'Expected `templates.needle` to be a text that holds {passkey} once',
    ],
    [
      '{"templates": {"question": "a{passkey}b{passkey}"}}',
      'Expected `templates.question` to be a text that holds {passkey} once',
    ],
    ['{"templates": 5}', 'Expected `templates` to be an object of texts, got `5` in PATH.'],
    ['{"description": 5}', 'Expected `description` to be a text in PATH.'],
  ];
  for (const [text, message] of wrong) {
    it(`refuses ${text}`, () => {
      const path = write(text);
      expect(() => loadPreset(path)).toThrow(ConfigError);
      expect(() => loadPreset(path)).toThrow(message.replace('PATH', path));
    });
  }

  it('refuses what is no preset at all', () => {
    expect(() => loadPreset('lama')).toThrow(
      'Expected a preset name (base, llama, mistral, qwen2, qwen3, demo, tiny) or the path of a JSON file, got `lama`.',
    );
    expect(() => loadPreset(write('{"steps": '))).toThrow(FormatError);
    expect(() => loadPreset(write('[1]'))).toThrow(FormatError);
    expect(() => loadPreset(folder)).toThrow(FileError);
  });
});
