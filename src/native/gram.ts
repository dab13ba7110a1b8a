// Gram matrices in the native library: inner products summed in fp64 in a fixed order, for any number of threads.
import { runCall, TASK_ARGUMENT } from './call.ts';

/** scale · ⟨aᵢ, bⱼ⟩ of all rows.
 * @param a `[numA, length]` and @param b `[numB, length]` fp32, row-major.
 * @param options.threads 0 = one for each CPU.
 * @returns `[numA, numB]`. @throws {NativeError}. */
export async function multiplyGram(
  a: Float32Array,
  b: Float32Array,
  options: { readonly length: number; readonly scale: number; readonly threads: number },
): Promise<Float64Array> {
  const { length, scale, threads } = options;
  const numA = a.length / length;
  const numB = b.length / length;
  const gram = new Float64Array(numA * numB);
  await runCall('duo_gram', [a, numA, b, numB, length, scale, threads, TASK_ARGUMENT, gram, numB]);
  return gram;
}
