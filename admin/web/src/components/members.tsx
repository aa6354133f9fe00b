import { Badge, Button, Group, Modal, Select, Stack, Text, TextInput } from '@mantine/core';
import { useMemo, useState, type FormEvent } from 'react';
import { useTranslation } from 'react-i18next';
import { del, patch, post, type Invited, type Member } from '../api';
import { moment } from '../format';
import { at, useChange, usePages } from '../hooks';
import { IconPlus } from '../icons';
import { useVisitor } from '../session';
import { HandedLink, Panel } from './bits';
import { Empty, Loaded } from './states';
import { DataTable, type Columns } from './table';

const path = '/openapi/v1/members';
const invitations = '/openapi/v1/invitations';
const roles = ['owner', 'member', 'billing', 'read-only'];

/** Members are the people of a customer; owners invite and change them. */
export function Members() {
  const { t } = useTranslation();
  const { user } = useVisitor();
  const owner = user?.operator === true || user?.role === 'owner';
  const list = usePages<Member>(path, { limit: 100 });
  const [inviting, setInviting] = useState(false);
  const [link, setLink] = useState<Invited | null>(null);
  const change = useChange(({ id, ...body }: { id: number; role?: string; active?: boolean }) => patch<Member>(`${path}/${id}`, body), [path], () => t('settings.saved'));
  const columns = useMemo<Columns<Member>>(
    () => [
      { accessorKey: 'email', header: t('settings.email'), meta: { lead: true }, cell: ({ row }) => <Text size="sm" fw={550} style={{ overflowWrap: 'anywhere' }}>{row.original.email}</Text> },
      {
        accessorKey: 'role',
        header: t('settings.role'),
        cell: ({ row: { original: m } }) =>
          owner && m.email !== user?.email ? <Select size="xs" w={130} aria-label={`${t('settings.role')}: ${m.email}`} data={roles} value={m.role} allowDeselect={false} onChange={(role) => role && role !== m.role && change.mutate({ id: m.id, role })} /> : m.role,
      },
      { accessorKey: 'active', header: t('keys.status'), meta: { trail: true }, cell: ({ row }) => <Badge tt="none" color={row.original.active ? 'teal' : 'red'}>{t(row.original.active ? 'op.active' : 'op.inactive')}</Badge> },
      {
        id: 'actions',
        header: '',
        meta: { right: true, trail: true },
        cell: ({ row: { original: m } }) =>
          owner && m.email !== user?.email ? (
            <Button size="compact-sm" variant="subtle" color={m.active ? 'red' : 'teal'} aria-label={`${t(m.active ? 'keys.disable' : 'op.enable')}: ${m.email}`} onClick={() => change.mutate({ id: m.id, active: !m.active })}>
              {t(m.active ? 'keys.disable' : 'op.enable')}
            </Button>
          ) : null,
      },
    ],
    // eslint-disable-next-line react-hooks/exhaustive-deps -- the mutation is a new object each time
    [t, owner, user?.email],
  );
  return (
    <Panel
      title={t('members.title')}
      aside={
        owner ? (
          <Button size="xs" leftSection={<IconPlus size={14} />} onClick={() => setInviting(true)}>
            {t('members.invite')}
          </Button>
        ) : null
      }
    >
      {link?.link ? (
        <HandedLink title={t('members.linkTitle', { email: link.email })} mailed={link.mailed === true} link={link.link} onDone={() => setLink(null)} testid="invitation" />
      ) : null}
      <Loaded of={list}>
        <DataTable rows={list.rows} columns={columns} id={(m) => String(m.id)} label={t('members.title')} empty={<Empty title={t('members.none')} />} />
      </Loaded>
      {owner ? <Open /> : null}
      {inviting ? <Invite onClose={() => setInviting(false)} onMade={setLink} /> : null}
    </Panel>
  );
}

/** Open are the invitations that nobody has used yet. */
function Open() {
  const { t } = useTranslation();
  const list = usePages<Invited>(invitations, { limit: 50 });
  const revoke = useChange((id: number) => del<Invited>(`${invitations}/${id}`), [invitations], () => t('members.revoked'));
  const open = list.rows.filter((i) => i.state === 'open');
  if (open.length === 0) return null;
  return (
    <Stack gap={6}>
      <Text size="sm" fw={550}>
        {t('members.open')}
      </Text>
      {open.map((i) => (
        <Group key={i.id} justify="space-between" wrap="nowrap">
          <Text size="sm" style={{ overflowWrap: 'anywhere' }}>
            {i.email} · {i.role} · → {moment(i.expires_at)}
          </Text>
          <Button size="compact-sm" variant="subtle" color="red" onClick={() => revoke.mutate(i.id)} aria-label={`${t('keys.revoke')}: ${i.email}`}>
            {t('keys.revoke')}
          </Button>
        </Group>
      ))}
    </Stack>
  );
}

function Invite({ onClose, onMade }: { onClose: () => void; onMade: (i: Invited) => void }) {
  const { t } = useTranslation();
  const [email, setEmail] = useState('');
  const [role, setRole] = useState('member');
  const [tried, setTried] = useState(false);
  const invite = useChange(() => post<Invited>(invitations, { email: email.trim(), role }), [invitations], undefined, ['email', 'role']);
  const bad = !/^\S+@\S+$/.test(email.trim()) ? t('entrance.badEmail') : null;
  const submit = (e: FormEvent) => {
    e.preventDefault();
    setTried(true);
    if (bad) return;
    invite.mutate(undefined, {
      onSuccess: (made) => {
        onMade(made);
        onClose();
      },
    });
  };
  return (
    <Modal opened onClose={onClose} title={t('members.invite')} closeButtonProps={{ 'aria-label': t('common.close') }}>
      <form onSubmit={submit} noValidate>
        <Stack>
          <TextInput label={t('settings.email')} type="email" required data-autofocus value={email} onChange={(e) => setEmail(e.currentTarget.value)} error={(tried ? bad : null) ?? at(invite.error, 'email')} />
          <Select label={t('settings.role')} description={t('members.roleText')} data={roles} value={role} allowDeselect={false} onChange={(v) => v && setRole(v)} error={at(invite.error, 'role')} />
          <Group justify="flex-end">
            <Button variant="default" onClick={onClose}>
              {t('common.cancel')}
            </Button>
            <Button type="submit" loading={invite.isPending}>
              {t('members.invite')}
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}
