// What a section of the report is made of: figures, tables, and words; or one line that says how to get its data.
import type { Figure } from '../figures/figure.ts';
import type { Html } from '../html.ts';
import type { Table } from '../table.ts';

export interface Section {
  /** anchor, kebab-case */
  readonly id: string;
  readonly title: string;
  readonly figures: readonly Figure[];
  readonly tables: readonly Table[];
  /** markup after figures and tables */
  readonly more?: Html;
}

/** A section whose data the run folder does not hold. */
export interface MissingSection {
  readonly title: string;
  /** what is not there */
  readonly reason: string;
  /** the command that produces it, ready for a shell; null where no command of duo does */
  readonly command: string | null;
}

export type SectionResult = Section | MissingSection;

export function isMissing(result: SectionResult): result is MissingSection {
  return 'reason' in result;
}
