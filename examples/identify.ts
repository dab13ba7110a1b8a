// Finds the retrieval heads of a model, cuts its gates at another share, and continues a text with the mask's cache.
// In a clone: npx tsx examples/identify.ts [folder | file.gguf | org/name]
import { buildMask, generateText, identify, openEngine, openModel, openTokenizer, toHeadMask } from 'duo-heads';

const model = await openModel(process.argv[2] ?? 'demo');
const engine = await openEngine(model);
// Few steps and samples show how it goes; without `config` the preset of the model says how many.
const { gates, config, heldOut } = await identify({
  model,
  engine,
  config: { method: 'gates', steps: 3, heldOutSamples: 2 },
  onMessage: ({ text }) => console.error(text),
});
for (const { mask, accuracy } of heldOut ?? []) console.log(`${mask}: ${(100 * accuracy).toFixed(1)} % of the words`);

const { sinkTokens, recentTokens } = config;
const { file, cut } = buildMask({ gates, cut: { streamingFraction: 0.75 }, window: { sinkTokens, recentTokens } });
console.log(`${cut.streamingHeads} heads stream, ${cut.retrievalHeads} keep the whole context.`);

const tokenizer = openTokenizer(model.path);
const prompt = tokenizer.encode('The old mill stands by the river', { addSpecialTokens: true });
const session = await engine.openSession(toHeadMask(file), { maxTokens: prompt.length + 16 });
const { text } = await generateText({ session, tokenizer, prompt }, { maxNewTokens: 16 });
console.log(`${text}\nKV cache: ${session.memory().kvBytes} of ${session.memory().fullKvBytes} bytes.`);
await session.close();
await engine.close();
model.close();
