/** Notifications to people: the public face of this folder. */

export * from './notice.ts'
