import { z } from 'zod'

const RFC_1123 = /^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/

/** `Wed, 06 Apr 2022 22:34:51 GMT`, as every date of this dialect is shown, or an ISO 8601 instant; undefined for neither. */
export function parseDate(text: string): Date | undefined {
  if (RFC_1123.test(text)) {
    const date = new Date(text)
    // Days that do not exist roll over to others, and names of the week are not looked at.
    return Number.isNaN(date.getTime()) || date.toUTCString() !== text ? undefined : date
  }
  const parsed = z.iso.datetime({ offset: true }).safeParse(text)
  const date = parsed.success ? new Date(parsed.data) : undefined
  return date === undefined || Number.isNaN(date.getTime()) || date.getUTCFullYear() < 1 ? undefined : date
}

export function showDate(date: Date): string {
  return date.toUTCString()
}
