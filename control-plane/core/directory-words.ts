import { z } from 'zod'

export const DIRECTORY_NAME_MAX = 200

/** A name that could be taken for an id would let somebody be addressed as somebody else. */
const LOOKS_LIKE_ID = /^([0-9a-f]{24}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$/i

/** Names of users, groups and tokens: what people are called, so letters of any script, but nothing invisible. */
export const DirectoryName = z
  .string()
  .normalize('NFC')
  .min(1, 'must not be empty')
  .max(DIRECTORY_NAME_MAX, `must be at most ${DIRECTORY_NAME_MAX} characters`)
  .refine((name) => !/[\p{C}\p{Zl}\p{Zp}/\\]/u.test(name), "must not hold control characters, '/' or '\\'")
  .refine((name) => name === name.trim(), 'must not begin or end with a space')
  .refine((name) => name !== '.' && name !== '..', 'must be a name')
  .refine((name) => !LOOKS_LIKE_ID.test(name), 'must not look like an id')

/** Long enough not to be guessed within any limit of ours; bounded, because each is hashed at length. */
export const Password = z.string().min(8, 'must be at least 8 characters').max(256, 'must be at most 256 characters')

/** What a client certificate says of its bearer: `subject:CN=alice,O=example`, `email:…`, `uri:…`, `dns:…`; or `sha256:` and its fingerprint. */
export const CertificateName = z
  .string()
  .overwrite((name) =>
    name.startsWith('sha256:') ? `sha256:${name.slice(7).replaceAll(':', '').toLowerCase()}` : name,
  )
  .max(500, 'must be at most 500 characters')
  .regex(
    /^((subject|email|uri|dns):\S|sha256:[0-9a-f]{64}$)/,
    "must begin with 'subject:', 'email:', 'uri:' or 'dns:', or be 'sha256:' and 64 hex digits",
  )
  .meta({
    description:
      'A name in a client certificate: `subject:` as `openssl x509 -noout -subject -nameopt RFC2253` prints it, or an alternative name; ' +
      'or its fingerprint, `sha256:` as `openssl x509 -noout -fingerprint -sha256` prints it',
    example: 'subject:O=Example,CN=alice',
  })

/** The shorter ids of users, groups and tokens, as document stores have them. */
export const DocumentId = z.string().regex(/^[0-9a-f]{24}$/, 'must be 24 lower-case hex digits')
