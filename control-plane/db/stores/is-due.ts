/**
 * As SQL: its time has come. Also when that is further off than anything is ever put off to: the clock was ahead when it was set, and it would
 * wait until that time.
 * @param now SQL too
 */
export function isDue(column: string, now = 'now()'): string {
  return `(${column} <= ${now} or ${column} > ${now} + interval '2 hours')`
}
