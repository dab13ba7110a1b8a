// Opens the tensorflow engine without loading TensorFlow.js before somebody does.
import type { ModelFolder } from '../../model/folder.ts';
import type { Engine } from '../engine.ts';
import type { BackendName } from './backend-names.ts';

/** Load a model's weights onto a tfjs backend.
 * @param folder opened with its weights, and open as long as the engine is.  @param options.backend default: the best that loads.
 * @throws {ModelError} no weights; {EngineError} no backend loads, or the weights do not fit its memory; {ConfigError} unknown backend. */
export async function openTensorflowEngine(
  folder: ModelFolder,
  options: { readonly backend?: BackendName } = {},
): Promise<Engine & { readonly notes: readonly string[] }> {
  const engine = await import('./tensorflow-engine.ts');
  return engine.openTensorflowEngine(folder, options);
}
