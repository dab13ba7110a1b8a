export function findProgram(target: 'duo_bench' | 'duo_kv_grids'): string;
export function benchOp(
  op: string,
  sizes: Record<string, number | string>,
  options?: { device?: string; threads?: number; repeats?: number },
): Promise<{ seconds: number[]; relativeError: number }>;
