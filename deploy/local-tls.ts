import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { writeFileAtomically } from './atomic-file.ts'
import type { Credentials } from './credentials.ts'
import { StartError } from './start-error.ts'
import { whyToolFailed } from './tools.ts'

const MAKE_TIMEOUT_MS = 60_000
const REQUEST_TIMEOUT_MS = 5_000
/** Whose certificate is made: a user of that name may do what its dialect asks for. */
const CLIENT = 'emulab'
const ROLE = 'operator'
/** There once that user was made: one that an operator removed stays away. */
const LINKED = 'emulab-user'
const UNPROCESSABLE = 422

/** The listener over TLS of `npm start`, with an authority of its own in the state directory. */
export interface LocalTls {
  /** For the control plane. */
  readonly environment: Readonly<Record<string, string>>
  /** Makes the user that the client certificate stands for. @returns how to use it. */
  link(credentials: Credentials): Promise<string>
}

/** Finds or makes the certificates below `folder`. @throws StartError. */
export async function ensureTls(folder: string, asked: { readonly root: string; readonly port: number }) {
  const { root, port } = asked
  const make = async (...words: readonly string[]) => {
    const args = [join(root, 'control-plane/cli.ts'), 'certificates', ...words, '--folder', folder]
    try {
      await promisify(execFile)(process.execPath, args, { cwd: root, timeout: MAKE_TIMEOUT_MS })
    } catch (error) {
      throw new StartError(`the certificates for HOLDFAST_TLS_PORT could not be made: ${whyToolFailed(error)}`)
    }
  }
  const [certificate, key] = [join(folder, 'clients', `${CLIENT}.crt`), join(folder, 'clients', `${CLIENT}.key`)]
  const linked = join(folder, LINKED)
  if (!existsSync(join(folder, 'ca.crt'))) await make('authority')
  if (!existsSync(certificate) && !existsSync(linked)) await make('issue', '--name', CLIENT)

  const tls: LocalTls = {
    environment: {
      HOLDFAST_TLS_CERT_FILE: join(folder, 'server.crt'),
      HOLDFAST_TLS_KEY_FILE: join(folder, 'server.key'),
      HOLDFAST_CLIENT_CA_FILE: join(folder, 'ca.crt'),
      HOLDFAST_CLIENT_CRL_FILE: join(folder, 'clients.crl'),
    },
    async link(credentials) {
      if (!existsSync(linked)) {
        await createUser(credentials)
        writeFileAtomically(linked, '')
      }
      return `client certificates: curl -k --key ${key} --cert ${certificate} https://127.0.0.1:${port}/lun/api/v1.0/clone_test`
    },
  }
  return tls
}

async function createUser({ url, token }: Credentials): Promise<void> {
  const response = await fetch(new URL('/api/v1/users', url), {
    method: 'POST',
    headers: { authorization: `Bearer ${token}` },
    body: JSON.stringify({ name: CLIENT, role: ROLE, certificates: [`subject:CN=${CLIENT}`] }),
    signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
  })
  // Somebody has that name already: whom the certificate stands for is then the operator's to say.
  if (response.ok || response.status === UNPROCESSABLE) return
  throw new StartError(`the user '${CLIENT}' could not be made: ${response.status} ${await response.text()}`)
}
