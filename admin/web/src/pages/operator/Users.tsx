import { Badge, Button, Group, Modal, Select, Stack, Text, TextInput } from '@mantine/core';
import { keepPreviousData, useInfiniteQuery } from '@tanstack/react-query';
import { useMemo, useState, type FormEvent } from 'react';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import { data, operator, useOperator, type Schemas } from '../../client';
import { HandedLink, PageTitle, Panel } from '../../components/bits';
import { Broken, Empty, Loaded, More } from '../../components/states';
import { DataTable, type Columns } from '../../components/table';
import { moment } from '../../format';
import { at, useChange } from '../../hooks';
import { IconPlus, IconSearch, IconUsers } from '../../icons';
import { useVisitor } from '../../session';

type User = Schemas['OperatorUser'];
type Role = User['role'];

const path = '/admin/v1/users';
const invitations = '/admin/v1/invitations';
const customerRoles: Role[] = ['owner', 'member', 'billing', 'read-only'];
const operatorRoles: Role[] = ['admin', 'support', 'finance'];

/** Handed is a link that is shown once. */
interface Handed {
  email: string;
  link: string;
  mailed: boolean;
  what: 'invitation' | 'reset';
}

/** Users are all people of the relay, with what each may do: S0-4, S3-2. */
export default function Users() {
  const { t } = useTranslation();
  const { user: me } = useVisitor();
  const admin = me?.role === 'admin';
  const [email, setEmail] = useState('');
  const [role, setRole] = useState<Role | null>(null);
  const [inviting, setInviting] = useState(false);
  const [handed, setHanded] = useState<Handed | null>(null);
  const text = email.trim();
  const list = useInfiniteQuery({
    queryKey: [path, text, role],
    queryFn: ({ pageParam, signal }) => data(operator.GET(path, { signal, params: { query: { limit: 50, ...(pageParam ? { cursor: pageParam } : {}), ...(text ? { email: text } : {}), ...(role ? { role } : {}) } } })),
    initialPageParam: '',
    getNextPageParam: (last) => last.next_cursor ?? undefined,
    placeholderData: keepPreviousData,
  });
  const change = useChange(({ id, ...body }: { id: number; role?: Role; active?: boolean }) => data(operator.PATCH('/admin/v1/users/{user_id}', { params: { path: { user_id: String(id) } }, body })), [path], () => t('settings.saved'));
  const reset = useChange(
    (u: User) => data(operator.POST('/admin/v1/users/{user_id}/reset', { params: { path: { user_id: String(u.id) } } })),
    [],
    (out) => {
      setHanded({ ...out, what: 'reset' });
      return null;
    },
  );
  const columns = useMemo<Columns<User>>(
    () => [
      {
        accessorKey: 'email',
        header: t('settings.email'),
        meta: { lead: true },
        cell: ({ row: { original: u } }) => (
          <Text size="sm" fw={550} style={{ overflowWrap: 'anywhere' }}>
            {u.email}
          </Text>
        ),
      },
      { id: 'of', header: t('op.client'), cell: ({ row: { original: u } }) => (u.client_id ? <Link to={`/console/operator/clients/${u.client_id}`}>{u.client_id}</Link> : t('settings.role.operator')) },
      {
        accessorKey: 'role',
        header: t('settings.role'),
        cell: ({ row: { original: u } }) =>
          admin && u.email !== me?.email ? (
            <Select size="xs" w={130} aria-label={`${t('settings.role')}: ${u.email}`} data={u.operator ? operatorRoles : customerRoles} value={u.role} allowDeselect={false} onChange={(v) => v && v !== u.role && change.mutate({ id: u.id, role: v as Role })} />
          ) : (
            u.role
          ),
      },
      { accessorKey: 'active', header: t('keys.status'), meta: { trail: true }, cell: ({ row }) => <Badge tt="none" color={row.original.active ? 'teal' : 'red'}>{t(row.original.active ? 'op.active' : 'op.inactive')}</Badge> },
      { accessorKey: 'created_at', header: t('users.since'), meta: { wide: true }, cell: ({ row }) => <span className="number">{moment(row.original.created_at)}</span> },
      {
        id: 'actions',
        header: '',
        meta: { right: true },
        cell: ({ row: { original: u } }) =>
          admin && u.email !== me?.email ? (
            <Group gap={4} justify="flex-end" wrap="nowrap">
              <Button size="compact-xs" variant="subtle" aria-label={`${t('users.reset')}: ${u.email}`} onClick={() => reset.mutate(u)}>
                {t('users.reset')}
              </Button>
              <Button size="compact-xs" variant="subtle" color={u.active ? 'red' : 'teal'} aria-label={`${t(u.active ? 'keys.disable' : 'op.enable')}: ${u.email}`} onClick={() => change.mutate({ id: u.id, active: !u.active })}>
                {t(u.active ? 'keys.disable' : 'op.enable')}
              </Button>
            </Group>
          ) : null,
      },
    ],
    // eslint-disable-next-line react-hooks/exhaustive-deps -- the mutations are new objects each time
    [t, admin, me?.email],
  );
  const rows = list.data?.pages.flatMap((p) => p.items) ?? [];
  return (
    <>
      <PageTitle title={t('users.title')} text={t('users.text')}>
        {admin ? (
          <Button leftSection={<IconPlus size={16} />} onClick={() => setInviting(true)}>
            {t('members.invite')}
          </Button>
        ) : null}
      </PageTitle>
      <Stack gap="lg">
        {handed ? (
          <HandedLink title={t(handed.what === 'reset' ? 'users.resetTitle' : 'members.linkTitle', { email: handed.email })} mailed={handed.mailed} link={handed.link} onDone={() => setHanded(null)} testid="link" />
        ) : null}
        <Group gap="sm">
          <TextInput w={{ base: '100%', xs: 280 }} placeholder={t('settings.email')} aria-label={t('settings.email')} leftSection={<IconSearch size={16} />} value={email} onChange={(e) => setEmail(e.currentTarget.value)} />
          <Select w={{ base: '100%', xs: 180 }} placeholder={t('users.allRoles')} aria-label={t('users.allRoles')} clearable data={[{ group: t('settings.role.operator'), items: operatorRoles }, { group: t('op.client'), items: customerRoles }]} value={role} onChange={(v) => setRole(v as Role | null)} />
        </Group>
        <Panel flush>
          <Loaded of={list}>
            <DataTable rows={rows} columns={columns} id={(u) => String(u.id)} label={t('users.title')} minWidth={760} empty={<Empty title={t('members.none')} icon={IconUsers} />} />
          </Loaded>
          <More of={list} />
        </Panel>
        {admin ? <Open /> : null}
        <Roles />
      </Stack>
      {inviting ? <Invite onClose={() => setInviting(false)} onMade={setHanded} /> : null}
    </>
  );
}

/** Open are the invitations of operators that nobody has used yet. */
function Open() {
  const { t } = useTranslation();
  const list = useOperator([invitations], (signal) => operator.GET(invitations, { signal, params: { query: { limit: 50 } } }));
  const revoke = useChange((id: number) => data(operator.DELETE('/admin/v1/invitations/{invitation_id}', { params: { path: { invitation_id: String(id) } } })), [invitations], () => t('members.revoked'));
  const open = (list.data?.items ?? []).filter((i) => i.state === 'open');
  if (list.error) return <Broken error={list.error} retry={() => void list.refetch()} />;
  if (open.length === 0) return null;
  return (
    <Panel title={t('members.open')}>
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
    </Panel>
  );
}

/** Roles are what each may do, in one line. */
function Roles() {
  const { t } = useTranslation();
  return (
    <Panel title={t('users.roles')}>
      {([...operatorRoles, ...customerRoles] as const).map((r) => (
        <Group key={r} gap="md" wrap="nowrap" align="flex-start">
          <Text size="sm" fw={550} w={90} style={{ flexShrink: 0 }}>
            {r}
          </Text>
          <Text size="sm" c="dimmed">
            {t(`users.role.${r}`)}
          </Text>
        </Group>
      ))}
    </Panel>
  );
}

function Invite({ onClose, onMade }: { onClose: () => void; onMade: (h: Handed) => void }) {
  const { t } = useTranslation();
  const [email, setEmail] = useState('');
  const [client, setClient] = useState('');
  const [role, setRole] = useState<Role>('support');
  const [tried, setTried] = useState(false);
  const of = client.trim();
  const roles = of === '' ? operatorRoles : customerRoles;
  const chosen = roles.includes(role) ? role : roles[1]!;
  const invite = useChange(() => data(operator.POST(invitations, { body: { email: email.trim(), role: chosen, ...(of === '' ? {} : { client_id: of }) } })), [invitations], undefined, ['email', 'client_id', 'role']);
  const badEmail = !/^\S+@\S+$/.test(email.trim()) ? t('entrance.badEmail') : null;
  const badClient = of !== '' && !/^client_\d+$/.test(of) ? t('users.badClient') : null;
  const submit = (e: FormEvent) => {
    e.preventDefault();
    setTried(true);
    if (badEmail || badClient) return;
    invite.mutate(undefined, {
      onSuccess: (made) => {
        onMade({ email: made.email, link: made.link ?? '', mailed: made.mailed ?? false, what: 'invitation' });
        onClose();
      },
    });
  };
  return (
    <Modal opened onClose={onClose} title={t('members.invite')} closeButtonProps={{ 'aria-label': t('common.close') }}>
      <form onSubmit={submit} noValidate>
        <Stack>
          <TextInput label={t('settings.email')} type="email" required data-autofocus value={email} onChange={(e) => setEmail(e.currentTarget.value)} error={(tried ? badEmail : null) ?? at(invite.error, 'email')} />
          <TextInput label={t('op.client')} description={t('users.clientText')} placeholder="client_1" value={client} onChange={(e) => setClient(e.currentTarget.value)} error={(tried ? badClient : null) ?? at(invite.error, 'client_id')} />
          <Select label={t('settings.role')} description={t(`users.role.${chosen}`)} data={roles} value={chosen} allowDeselect={false} onChange={(v) => v && setRole(v as Role)} error={at(invite.error, 'role')} />
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
