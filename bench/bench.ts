// What a bench is, and what it hands back; run.ts runs it and record.ts writes it.

/** One bench. `run` gets the flags it names. */
export interface Bench {
  readonly about: string;
  /** flag → default and meaning */
  readonly flags: Readonly<Record<string, { readonly default: string; readonly about: string }>>;
  /** @returns what was measured: a table to print and the raw figures. */
  run(flags: Readonly<Record<string, string>>): Promise<BenchResult>;
}

export interface BenchResult {
  readonly table: string;
  readonly figures: unknown;
  /** further files beside the record: name → content */
  readonly files?: Readonly<Record<string, string>>;
}
