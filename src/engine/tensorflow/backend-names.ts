// The tfjs backends by name, apart from the code that loads TensorFlow.js.

/** Best first. */
export const BACKEND_NAMES = ['node-gpu', 'node', 'wasm', 'cpu'] as const;

export type BackendName = (typeof BACKEND_NAMES)[number];
