// Chat templates of published models, by the sha256 of their text: each writes its messages once, in the time and memory of one pass.
import { createHash } from 'node:crypto';

const PUBLISHED = new Set([
  'ba03a121d097859c7b5b9cd03af99aafe95275210d2876f642ad9929a150f122', // Llama 3
  '7a29791b46bd731f43fbe4994f23c7b689daaa36c4d0294485fab19825a2ec5d', // Mistral Nemo
  'cd8e9439f0570856fd70470bf8889ebd8b5d1107207f67a5efb46e342330527f', // Qwen2.5
  '87a2728cb8dc9fe424d624542f6060ec05a1d285ebbec578bb078900e33396b5', // Qwen3
  '872be49dbb638044ad01b60388f48d469ff2980e5f0dccdc22ec907db54d0788', // SmolLM2
]);

/** True where a template is to the byte one of those. */
export function isPublishedTemplate(template: string): boolean {
  return PUBLISHED.has(createHash('sha256').update(template).digest('hex'));
}
