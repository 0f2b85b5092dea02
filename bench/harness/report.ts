/** What one bench found. `figure` and `peer` are for the reader; `value` is held against the target. */
export interface Finding {
  readonly bench: string
  readonly figure: string
  readonly peer: string
  /** Ours to the peer's, measured in the same run. Undefined where there is no peer. */
  readonly ratio?: number
  /** Undefined: the figure is shown for what it is worth, and no promise stands behind it. */
  readonly target?: { readonly words: string; readonly met: boolean }
}

export function atMost(value: number, bound: number, unit = ''): NonNullable<Finding['target']> {
  return { words: `≤ ${bound}${unit}`, met: value <= bound }
}

export function atLeast(value: number, bound: number, unit = ''): NonNullable<Finding['target']> {
  return { words: `≥ ${bound}${unit}`, met: value >= bound }
}

const HEADINGS = ['bench', 'figure', 'peer', 'ratio', 'target', 'verdict']

function cells({ bench, figure, peer, ratio, target }: Finding): readonly string[] {
  const verdict = target === undefined ? '' : target.met ? 'met' : 'MISSED'
  return [bench, figure, peer, ratio?.toFixed(2) ?? '', target?.words ?? '', verdict]
}

/** Columns as wide as their widest cell. */
export function table(findings: readonly Finding[]): string {
  const rows = [HEADINGS, ...findings.map(cells)]
  const widths = HEADINGS.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
