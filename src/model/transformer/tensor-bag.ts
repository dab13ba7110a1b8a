// Tensors that live across an await, where tf.tidy cannot hold them, freed together whatever happens.
import * as tf from '@tensorflow/tfjs-core';

/** Owner of the tensors that the synchronous parts of one asynchronous computation leave behind. */
export class TensorBag {
  readonly #tensors = new Set<tf.Tensor>();

  /** Run `compute` in a tidy and own every tensor it returns. */
  compute<T>(compute: () => T): T {
    // tidy walks plain objects, arrays and nulls alike, though its type knows no null.
    const result = tf.tidy(compute as () => tf.TensorContainer) as T;
    this.#own(result);
    return result;
  }

  /** Free some tensors of this bag now; others, and null, are left alone. */
  free(...tensors: (tf.Tensor | null)[]): void {
    for (const tensor of tensors) if (tensor !== null && this.#tensors.delete(tensor)) tensor.dispose();
  }

  /** Free the rest. */
  close(): void {
    this.free(...this.#tensors);
  }

  #own(value: unknown): void {
    if (value instanceof tf.Tensor) this.#tensors.add(value);
    else if (typeof value === 'object' && value !== null) for (const part of Object.values(value)) this.#own(part);
  }
}
