/** The entries of better-sqlite3 that name their addon, which its types do not declare. */

declare module 'better-sqlite3/linux-x64' {
  export { default } from 'better-sqlite3'
}

declare module 'better-sqlite3/linux-arm64' {
  export { default } from 'better-sqlite3'
}
