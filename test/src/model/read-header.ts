// Where the tensors of a safetensors file stand, read by plain JSON, for tests that damage files on purpose.

/** @param bytes a whole, sound safetensors file.  @returns where its data begins, and each tensor's first byte in the data. */
export function readSafetensorsHeader(bytes: Buffer): { dataStart: number; offsets: Record<string, number> } {
  const length = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString('utf8', 8, 8 + length)) as Record<
    string,
    { data_offsets?: [number, number] }
  >;
  const offsets = Object.entries(header).flatMap(([name, entry]) =>
    entry.data_offsets === undefined ? [] : [[name, entry.data_offsets[0]] as const],
  );
  return { dataStart: 8 + length, offsets: Object.fromEntries(offsets) };
}
