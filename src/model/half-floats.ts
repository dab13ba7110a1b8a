// Exact conversion of 16-bit floating-point numbers to float32, and rounding back to bfloat16.
// Works on bit patterns, so that NaN payloads and signed zeros survive.

/** Write the float32 bits of `count` bfloat16 values. */
export function decodeBf16(source: Uint16Array, target: Uint32Array): void {
  const { length } = source;
  for (let index = 0; index < length; index++) target[index] = source[index]! << 16;
}

/** Write the float32 bits of IEEE half-precision values. */
export function decodeF16(source: Uint16Array, target: Uint32Array): void {
  const table = halfTable();
  const { length } = source;
  for (let index = 0; index < length; index++) target[index] = table[source[index]!]!;
}

/** Round float32 values to bfloat16, ties to even; NaN stays NaN. */
export function encodeBf16(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  return Uint16Array.from(bits, (word) => {
    // Rounding could carry a NaN payload into infinity.
    if ((word & 0x7fffffff) > 0x7f800000) return (word >>> 16) | 0x40;
    return (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
  });
}

let cachedTable: Uint32Array | undefined;

/** float32 bits of all 65,536 half-precision numbers; 256 KiB, built at the first use. */
function halfTable(): Uint32Array {
  cachedTable ??= Uint32Array.from({ length: 65536 }, (_, half) => widenHalf(half));
  return cachedTable;
}

function widenHalf(half: number): number {
  const sign = (half & 0x8000) << 16;
  const exponent = (half >>> 10) & 0x1f;
  const fraction = half & 0x3ff;
  if (exponent === 0x1f) return (sign | 0x7f800000 | (fraction << 13)) >>> 0;
  if (exponent > 0) return (sign | ((exponent + 112) << 23) | (fraction << 13)) >>> 0;
  if (fraction === 0) return sign >>> 0;
  // A subnormal half is fraction · 2^-24: normalise its leading bit.
  const shift = Math.clz32(fraction) - 21;
  return (sign | ((113 - shift) << 23) | (((fraction << shift) & 0x3ff) << 13)) >>> 0;
}
