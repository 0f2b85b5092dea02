import { z } from 'zod'
import { COMMON_STATUSES, type Failure, type FailureCode } from '../../http/route.ts'

/** Faults of a document are 422, a name that is taken among them. */
export const STATUSES: Readonly<Record<FailureCode, number>> = { ...COMMON_STATUSES, invalid: 422, exists: 422 }

export const ErrorBody = z.object({
  _error: z.object({ code: z.number().int(), message: z.string(), blockers: z.array(z.string()).optional() }),
  _issues: z
    .record(z.string(), z.string())
    .optional()
    .meta({ description: 'Of a document that cannot be taken: why, for each field at fault' }),
  _status: z.literal('ERR'),
})

const UNPROCESSABLE = 'the document contains errors'

/** To the letter, with the order of its members: the document's two samples. */
export const NO_ETAG = {
  _error: { code: 428, message: 'To edit a document its etag must be provided using the If-Match header' },
  _status: 'ERR',
} as const
const OTHER_ETAG = { _error: { code: 412, message: "Client and server etags don't match" }, _status: 'ERR' } as const

export function errorBody({ code, message, field = 'body', issues, blockers }: Failure): z.input<typeof ErrorBody> {
  if (code === 'stale') return OTHER_ETAG
  const status = STATUSES[code]
  if (status === 422) {
    const reasons = issues ?? { [field]: message.replace(`${field}: `, '') }
    return { _status: 'ERR', _error: { code: status, message: UNPROCESSABLE }, _issues: byField(reasons) }
  }
  if (blockers === undefined) return { _error: { code: status, message }, _status: 'ERR' }
  return { _error: { code: status, message, blockers: [...blockers] }, _status: 'ERR' }
}

/** `users.0` is a fault of `users`. */
function byField(reasons: Readonly<Record<string, string>>): Record<string, string> {
  // Without a prototype: fields may be called `__proto__`.
  const issues: Record<string, string> = Object.create(null)
  for (const [path, reason] of Object.entries(reasons)) {
    const [field = '', ...inner] = path.split('.')
    issues[field] ??= inner.length === 0 ? reason : `${inner.join('.')}: ${reason}`
  }
  return issues
}

/** A request whose query, not its document, is at fault. */
export function queryFault(parameter: string, reason: string): z.input<typeof ErrorBody> {
  const message = `${parameter}: ${reason}`
  return { _error: { code: 400, message }, _issues: { [parameter]: reason }, _status: 'ERR' }
}
