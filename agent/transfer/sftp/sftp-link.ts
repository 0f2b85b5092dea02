import type { SFTPWrapper } from 'ssh2'
import type { FleetError } from '../../../shared/errors.ts'
import type { SftpTargetConfig, TargetSecret } from '../../../shared/target-config.ts'
import type { Dialer } from '../dial.ts'
import { patiently, STALL_MS } from '../patience.ts'
import { connectSftp, type SftpSession } from './sftp-connection.ts'
import { asSftpError, isUnsupported } from './sftp-error.ts'

type Callback<Result> = (error: Error | null | undefined, result?: Result) => void

/** The one connection to a server: made when it is needed, made anew after it broke; requests share it. */
export class SftpLink implements Disposable {
  readonly #config: SftpTargetConfig
  readonly #secret: TargetSecret
  readonly #dialer: Dialer
  readonly #stallMs: number
  #session: Promise<SftpSession> | undefined
  readonly #closing = new AbortController()

  constructor(
    config: SftpTargetConfig,
    secret: TargetSecret,
    parts: { readonly dialer: Dialer; readonly stallMs: number | undefined },
  ) {
    this.#config = config
    this.#secret = secret
    this.#dialer = parts.dialer
    this.#stallMs = parts.stallMs ?? STALL_MS
  }

  /** The session of now: handles belong to it, so whoever holds one notices that it is another. */
  async session(signal: AbortSignal): Promise<SftpSession> {
    const session = this.#session ?? this.#connect()
    // Others wait for the same connection: one who gives up does not end it.
    return patiently(session, { signal, stallMs: this.#stallMs, giveUp: () => undefined })
  }

  /** One request and its answer; ssh2 answers what is under way itself when the connection breaks. @throws FleetError, or the system's error */
  async call<Result = void>(
    session: SftpSession,
    signal: AbortSignal,
    ask: (sftp: SFTPWrapper, done: Callback<Result>) => void,
  ): Promise<Result> {
    const answered = new Promise<Result>((resolve, reject) => {
      // as: where ssh2 calls back without a result, Result is void
      ask(session.sftp, (error, result) => (error ? reject(asSftpError(error)) : resolve(result as Result)))
    })
    const giveUp = (reason: FleetError) => {
      if (reason.code === 'timeout') session.end()
    }
    return patiently(answered, { signal, stallMs: this.#stallMs, giveUp })
  }

  /** A request of an extension. @returns false where the server does not offer it, which ssh2 throws at once */
  async optional(
    session: SftpSession,
    signal: AbortSignal,
    ask: (sftp: SFTPWrapper, done: Callback<void>) => void,
  ): Promise<boolean> {
    let offered = true
    await this.call<void>(session, signal, (sftp, done) => {
      try {
        ask(sftp, done)
      } catch {
        offered = false
        done(undefined)
      }
    }).catch((error: unknown) => {
      if (!isUnsupported(error)) throw error
      offered = false
    })
    return offered
  }

  [Symbol.dispose](): void {
    this.#closing.abort()
    this.#session?.then(
      (session) => session.end(),
      () => undefined,
    )
  }

  #connect(): Promise<SftpSession> {
    const connecting = connectSftp(this.#config, this.#secret, { dialer: this.#dialer, signal: this.#closing.signal })
    const forget = () => {
      if (this.#session === connecting) this.#session = undefined
    }
    this.#session = connecting
    connecting.then(({ broken }) => broken.then(forget), forget)
    return connecting
  }
}
