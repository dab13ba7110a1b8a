// Reads a mask.json and says what it keeps; loads neither a model nor an engine.
// In a clone: npx tsx examples/read-mask.ts mask.json
import { DuoError, drawMask, measureKvShare, readMask, toHeadMask } from 'duo-heads/mask';

try {
  const file = readMask(process.argv[2] ?? 'mask.json');
  const mask = toHeadMask(file);
  console.log(drawMask(mask, { colour: process.stdout.isTTY }));
  for (const tokens of [32_768, 131_072]) {
    console.log(`${(100 * measureKvShare(mask, tokens)).toFixed(1)} % of the KV cache at ${tokens} tokens`);
  }
} catch (error) {
  if (!(error instanceof DuoError)) throw error;
  console.error(`${error.code}: ${error.message}`);
  process.exitCode = 1;
}
