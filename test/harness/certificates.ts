import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'

/** PEM files. */
export interface Pair {
  readonly cert: string
  readonly key: string
}

interface Issued {
  readonly by: Pair
  readonly subject: string
  readonly alternatives?: string
  /** Out of date since yesterday. */
  readonly isExpired?: boolean
}

const DAYS = ['-days', '2']

/** Certificates of a test's own, as an operator makes them. */
export function createAuthority(t: ExecutionContext) {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-tls-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const at = (name: string) => join(folder, name)
  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' })
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']

  function authority(name: string): Pair {
    const files = ['-keyout', `${name}.key`, '-out', `${name}.crt`]
    openssl('req', '-x509', ...newKey, ...files, '-subj', `/CN=${name}`, ...DAYS)
    return { cert: at(`${name}.crt`), key: at(`${name}.key`) }
  }

  function issue(name: string, { by: { cert, key }, subject, alternatives, isExpired = false }: Issued): Pair {
    openssl('req', ...newKey, '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', subject)
    writeFileSync(at(`${name}.ext`), `subjectAltName=${alternatives ?? 'DNS:localhost'}\n`)
    const out = ['-out', `${name}.crt`, '-extfile', `${name}.ext`, ...(isExpired ? ['-days', '-1'] : DAYS)]
    openssl('x509', '-req', '-in', `${name}.csr`, '-CA', cert, '-CAkey', key, '-CAcreateserial', ...out)
    return { cert: at(`${name}.crt`), key: at(`${name}.key`) }
  }

  /** @returns the file of its list, which each call makes anew: of all that `revoked` ever named. */
  function revocations(by: Pair, revoked: readonly Pair[]): string {
    const config = at('ca.cnf')
    writeFileSync(config, '[ca]\ndefault_ca=own\n[own]\ndatabase=index.txt\ndefault_md=sha256\n')
    writeFileSync(at('index.txt'), '', { flag: 'a' })
    const signed = ['-config', config, '-cert', by.cert, '-keyfile', by.key]
    for (const { cert } of revoked) openssl('ca', ...signed, '-revoke', cert)
    openssl('ca', ...signed, '-gencrl', '-crldays', '2', '-out', 'list.new')
    writeFileSync(at('list.crl'), readFileSync(at('list.new')))
    return at('list.crl')
  }

  return { authority, issue, revocations }
}
