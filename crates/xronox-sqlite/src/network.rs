//! Network file systems, where a database cannot be kept safely: the log's
//! shared memory and locks do not work across a network (SQLite's
//! documentation, "Write-Ahead Logging": all processes must be on one host).

use std::path::Path;

use xronox_store::StoreError;

/// What is known of a file system.
#[cfg(any(target_os = "linux", test))]
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Local,
    Network(String),
    /// A program makes it (FUSE), from who knows where.
    Unknown(String),
}

/// Refuses a folder on a network file system, and warns of one that may be on
/// one.
#[cfg(target_os = "linux")]
pub(crate) fn refuse(folder: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::MetadataExt;

    let unexamined = |error: std::io::Error| {
        crate::file::io(&format!("{} cannot be examined", folder.display()), error)
    };
    let number = rustix::fs::statfs(folder)
        .map_err(|error| unexamined(error.into()))?
        .f_type;
    // `f_type` has another width on each architecture.
    #[allow(
        clippy::unnecessary_cast,
        clippy::cast_sign_loss,
        clippy::cast_possible_truncation
    )]
    let number = number as u32;
    let kind = if number == FUSE {
        let device = std::fs::metadata(folder).map_err(unexamined)?.dev();
        // Where it cannot be read nothing is known.
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        fuse_kind(type_of_mount(
            &mounts,
            rustix::fs::major(device),
            rustix::fs::minor(device),
        ))
    } else {
        kind_of_number(number)
    };
    match kind {
        Kind::Local => Ok(()),
        Kind::Unknown(name) => {
            tracing::warn!(
                folder = %folder.display(), kind = name,
                "if this is a network file system, the database is not safe here"
            );
            Ok(())
        }
        Kind::Network(name) => Err(StoreError::Unsupported(format!(
            "{} is on a network file system ({name}), where the embedded database cannot be kept safely",
            folder.display()
        ))),
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn refuse(folder: &Path) -> Result<(), StoreError> {
    tracing::warn!(folder = %folder.display(), "cannot tell whether this is a network file system, where the database would not be safe");
    Ok(())
}

/// The number in `statfs(2)` of file systems that a program makes.
#[cfg(target_os = "linux")]
const FUSE: u32 = 0x6573_5546;

/// The network file systems by their numbers in `statfs(2)`.
#[cfg(any(target_os = "linux", test))]
fn kind_of_number(number: u32) -> Kind {
    let name = match number {
        0x6969 => "NFS",
        0xff53_4d42 => "CIFS",
        0xfe53_4d42 => "SMB2",
        0x517b => "SMB",
        0x0102_1997 => "9P",
        0x5346_414f => "AFS",
        0x00c3_6400 => "Ceph",
        0x7375_7245 => "Coda",
        0x0bd0_0bd0 => "Lustre",
        0x4750_4653 => "GPFS",
        _ => return Kind::Local,
    };
    Kind::Network(name.to_owned())
}

/// The type of the file system that is mounted from a device, by the lines of
/// `/proc/self/mountinfo` (`proc(5)`): `ID PARENT MAJOR:MINOR … - TYPE …`.
#[cfg(any(target_os = "linux", test))]
fn type_of_mount(mounts: &str, major: u32, minor: u32) -> Option<&str> {
    let device = format!("{major}:{minor}");
    let mount = mounts
        .lines()
        .find(|line| line.split(' ').nth(2) == Some(&device))?;
    let (_, rest) = mount.split_once(" - ")?;
    rest.split(' ').next()
}

/// What is known of a file system that a program makes, by its type
/// (`fuse.PROGRAM`; `fuseblk` is on a disk).
#[cfg(any(target_os = "linux", test))]
fn fuse_kind(name: Option<&str>) -> Kind {
    const NETWORK: [&str; 18] = [
        "afp",
        "blobfuse",
        "blobfuse2",
        "ceph-fuse",
        "curlftpfs",
        "davfs",
        "gcsfuse",
        "glusterfs",
        "goofys",
        "juicefs",
        "mfs",
        "mount-s3",
        "rclone",
        "s3fs",
        "s3ql",
        "seaweedfs",
        "smbnetfs",
        "sshfs",
    ];
    match name {
        Some("fuseblk") => Kind::Local,
        Some(name) => match name.strip_prefix("fuse.") {
            Some(program) if NETWORK.contains(&program) => Kind::Network(program.to_owned()),
            _ => Kind::Unknown(name.to_owned()),
        },
        None => Kind::Unknown("fuse".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_known_by_number() {
        assert_eq!(kind_of_number(0x6969), Kind::Network("NFS".into()));
        assert_eq!(kind_of_number(0xef53), Kind::Local, "ext4");
        assert_eq!(kind_of_number(0x0102_1994), Kind::Local, "tmpfs");
    }

    #[test]
    fn programs_that_make_file_systems_are_known_by_type() {
        let mounts = "\
22 27 0:20 / /proc rw,nosuid - proc proc rw
27 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
61 27 0:51 / /mnt/far\\040away rw,nosuid shared:300 - fuse.sshfs host:/data rw,user_id=0
62 27 0:52 / /mnt/near rw master:3 propagate_from:2 - fuse.bindfs /srv rw
63 27 8:17 / /mnt/stick rw - fuseblk /dev/sdb1 rw
64 27 0:53 / /mnt/plain rw - fuse thing rw
";
        let kind = |major, minor| fuse_kind(type_of_mount(mounts, major, minor));
        assert_eq!(kind(0, 51), Kind::Network("sshfs".into()));
        assert_eq!(kind(0, 52), Kind::Unknown("fuse.bindfs".into()));
        assert_eq!(kind(8, 17), Kind::Local);
        assert_eq!(kind(0, 53), Kind::Unknown("fuse".into()));
        assert_eq!(kind(0, 5), Kind::Unknown("fuse".into()), "no such line");
    }
}
